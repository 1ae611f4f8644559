"""Teaching: the known answers of its sheet."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayforge.feedback.teaching import (
    CycleError,
    Lesson,
    Memory,
    Said,
    answer,
    ask,
    gap_in,
    lesson_in,
    triggers,
)


def taught(*lessons: tuple[str, str, str]) -> Memory:
    memory = Memory()
    for user, phrase, meaning in lessons:
        memory.teach(Lesson(user, phrase, meaning))
    return memory


def test_it_works_at_once_for_its_user_alone_and_is_gone_when_deleted() -> None:
    memory = taught(("ann", "my corner", "the chair by the window"))
    asked = "Go to My Corner, please."
    assert memory.expand("ann", asked).text == "Go to the chair by the window, please."
    assert memory.expand("bob", asked) == (asked, ())
    assert memory.forget("ann", "MY corner") and not memory.forget("ann", "my corner")
    assert memory.expand("ann", asked).text == asked


def test_triggers() -> None:
    assert triggers([(0, "A"), (10, "A"), (20, "B")], 60) == [1]
    assert triggers([(0, "A"), (10, "B"), (100, "A")], 60) == []
    assert triggers([(0, "A"), (5, "A"), (9, "A")], 60) == [1]  # once
    assert triggers([(0, "A"), (5, "B"), (9, "A"), (12, "B")], 60) == [2, 3]
    assert triggers([(0, "A"), (5, "A"), (9, "A")], 60, repeats=3) == [2]


def test_the_last_definition_wins() -> None:
    memory = taught(("ann", "base", "the kitchen"))
    old = memory.teach(Lesson("ann", "Base", "the office"))
    assert old is not None and old.meaning == "the kitchen"
    assert memory.expand("ann", "go to base").text == "go to the office" and len(memory) == 1


def test_nested_definitions_expand_once_and_the_longest_phrase_first() -> None:
    memory = taught(
        ("ann", "the den", "the room behind base"), ("ann", "base", "the kitchen"),
        ("ann", "base camp", "the hall"),
    )  # fmt: skip
    found = memory.expand("ann", "from base camp to the den")
    assert found.text == "from the hall to the room behind the kitchen"
    assert [lesson.phrase for lesson in found.lessons] == ["base camp", "the den", "base"]


@pytest.mark.parametrize("chain", [("a",), ("a", "b"), ("a", "b", "c")])
def test_a_cycle_is_refused_and_nothing_changes(chain: tuple[str, ...]) -> None:
    memory = Memory()
    for here, there in pairwise(chain):
        memory.teach(Lesson("ann", f"place {here}", f"beside place {there}"))
    before = set(memory.lessons("ann"))
    with pytest.raises(CycleError, match="by itself"):
        memory.teach(Lesson("ann", f"place {chain[-1]}", f"near place {chain[0]}"))
    assert set(memory.lessons("ann")) == before
    memory.teach(Lesson("bob", "place z", f"near place {chain[0]}"))  # it is no phrase of his


def test_a_demonstration_is_the_meaning_of_a_phrase() -> None:
    memory = Memory()
    memory.teach(Lesson("ann", "my corner", "my corner", "place", "house1", ("a", "b")))
    found = memory.expand("ann", "go to my corner", "house1")
    assert found.demonstration is not None and found.demonstration.path == ("a", "b")
    assert memory.expand("ann", "go to my corner", "house2").lessons == ()
    memory.teach(Lesson("ann", "speed", "slow", "preference"))
    assert memory.expand("ann", "what speed", "house1").text == "what speed"  # no place


def test_what_fails_three_times_in_a_row_is_retired() -> None:
    memory = taught(("ann", "base", "the kitchen"))
    for worked in (False, False, True, False, False):
        assert memory.judge(memory.lessons("ann"), worked) == []
    assert [lesson.phrase for lesson in memory.judge(memory.lessons("ann"), False)] == ["base"]
    assert not memory.lessons("ann")


TEMPLATES = {
    'when i say "{p}" i mean {m}': "teach", "When I say {p}, I mean {m}.": "teach",
    'by "{p}" i mean: {m}': "teach", "by {p} i mean {m}": "teach",
    "remember that {p} means {m}": "teach", "Please remember: {p} is {m}!": "teach",
    "call this {p}": "call", "this is called {p}.": "call", "forget {p}": "forget",
    'please delete the name "{p}"': "forget",
}  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("phrase", ["my corner", "grandma's place", "the den"])
def test_spans_of_templates(template: str, phrase: str) -> None:
    meaning = "the chair by the window" if "{m}" in template else ""
    said = lesson_in(template.format(p=phrase, m=meaning))
    assert said == Said(TEMPLATES[template], phrase, meaning)  # type: ignore[arg-type]


def test_what_is_no_lesson_and_what_is_asked_about() -> None:
    assert lesson_in("walk past the sofa and stop by the door") is None
    assert gap_in("Please go to my corner.") == "my corner"
    assert gap_in("take me to grandma's place") == "grandma's place"
    assert gap_in("walk to the end of the hall and turn left at the door") == (
        "walk to the end of the hall and turn left at the door")  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["yes", "no", "", "the kitchen", "forget it", "?!"]), max_size=8),
       st.integers(1, 6))  # fmt: skip
def test_every_dialogue_ends_in_store_or_drop(answers: list[str], most: int) -> None:
    dialogue, _ = ask("my corner")
    answers += ["the hall"] * most
    for turn, text in enumerate(answers, 1):
        dialogue, said = answer(dialogue, text, most)
        assert said and dialogue.turns == turn
        if dialogue.over:
            break
    assert dialogue.over and dialogue.turns <= most
    with pytest.raises(ValueError, match="is over"):
        answer(dialogue, "yes")


def test_a_dialogue_that_stores() -> None:
    dialogue, said = ask("my corner")
    assert said == 'What do you mean by "my corner"?'
    dialogue, said = answer(dialogue, "by my corner i mean the chair")
    assert said == '"my corner" means "the chair": is that right?'
    dialogue, _ = answer(dialogue, "yes please")
    assert (dialogue.state, dialogue.meaning) == ("stored", "the chair")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", "x y"])),
                       st.sampled_from(["1", "2", "3"]), max_size=6),
       st.sampled_from("abc"), st.lists(st.sampled_from(["x", "y", "z"]), max_size=5))  # fmt: skip
def test_nothing_of_another_user_is_ever_in_an_answer(
    lessons: dict[tuple[str, str], str], user: str, words: list[str]
) -> None:
    memory = taught(
        *((who, phrase, f"{who}{meaning}") for (who, phrase), meaning in lessons.items())
    )
    found = memory.expand(user, " ".join(words))
    assert all(lesson.user == user for lesson in found.lessons)
    assert not any(c in found.text for c in set("abc") - {user})
    alone = taught(*((who, phrase, f"{who}{meaning}")
                     for (who, phrase), meaning in lessons.items() if who == user))  # fmt: skip
    assert alone.expand(user, " ".join(words)).text == found.text


def test_a_hundred_thousand_lessons_are_found() -> None:
    memory = Memory()
    for number in range(100_000):
        user, phrase = f"u{number % 1000}", f"place number {number // 1000}"
        memory.teach(Lesson(user, phrase, f"goal {number}", "place", "", ("v",)))
    assert len(memory) == 100_000
    started = time.perf_counter()
    for number in range(0, 100_000, 97):
        text = f"go to place number {number // 1000} now"
        assert memory.expand(f"u{number % 1000}", text).text == f"go to goal {number} now"
    print(f"{(time.perf_counter() - started) / 1031 * 1e6:.0f} microseconds a request")


def test_all_that_a_user_taught_can_be_deleted_and_nothing_of_others() -> None:
    memory = Memory()
    for user in ("ann", "ben"):
        for phrase in ("base", "my corner by the window"):
            memory.teach(Lesson(user, phrase, f"the office of {user}"))
    assert memory.forget_user("ann") == 2
    assert memory.forget_user("ann") == 0
    assert memory.expand("ann", "go to base").text == "go to base"
    assert memory.expand("ben", "go to base").text == "go to the office of ben"
