"""How events are put into words: clause templates, those of the training split and held-out ones.

Slots stand in braces, alternatives in square brackets ([a|b]). A template realises a fixed
sequence of event kinds, its key. Slots by event kind: leave, enter, cross, pass_room, doorway,
outside, stay, end: {room} (of the second such event: {room2}); reach, past: {thing} ({thing2});
turn: {turn}; sides of things: {side}; take: {ordinal}, {side}.

Templates after the second comma are held out: no training instruction uses them. Their words all
occur in training templates, so that a held-out instruction is a new composition, not a new word.
"""

GO = "[walk|go|head]"
MOVE = "[walk|go|head|move|continue]"
STOP = "[stop|wait|stand|pause]"
NEXT = "[next to|near|by|beside|in front of]"

# key -> (training templates, held-out templates); 'around' and generic rooms have keys of their
# own, a key ending in ':side' needs a side, 'h' stands for the hallway.
TEMPLATES: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("turn",): (
        ("[turn|go] {turn}", "[take|make] a {turn}", "turn to the {turn}", "turn to your {turn}"),
        ("make a {turn} turn", "take a turn to the {turn}"),
    ),
    ("around",): (
        ("turn around", "turn all the way around", "turn back"),
        ("turn back around", "make a turn all the way around"),
    ),
    ("straight",): (
        (
            "go straight",
            "walk straight ahead",
            f"{GO} forward",
            "continue straight",
            "keep walking straight",
        ),
        ("keep going straight ahead", "keep walking forward"),
    ),
    ("leave",): (
        ("[exit|leave] the {room}", "[walk|go|head|step|come] out of the {room}"),
        ("get out of the {room}", "make your way out of the {room}"),
    ),
    ("leave room",): (
        ("[exit|leave] the room", "[walk|go|head|get] out of the room", "exit this room"),
        ("make your way out of this room", "step out of the room"),
    ),
    ("leave", "enter"): (
        (
            "[exit|leave] the {room} and enter the {room2}",
            "[walk|go|head] out of the {room} and into the {room2}",
            "[go|walk] from the {room} into the {room2}",
            "leave the {room} for the {room2}",
        ),
        (
            "make your way from the {room} into the {room2}",
            "get out of the {room} and step into the {room2}",
        ),
    ),
    ("leave", "cross"): (
        (
            "exit the {room} into the {room2}",
            "[walk|go|step] out of the {room} and through the {room2}",
            "[exit|leave] the {room} and [cross|walk through] the {room2}",
        ),
        (
            "make your way from the {room} through the {room2}",
            "come out of the {room} and cross the {room2}",
        ),
    ),
    ("leave", "cross h"): (
        (
            "[exit|leave] the {room} and [walk|go|continue] down the {room2}",
            "[exit|leave] the {room} and follow the {room2}",
            "[walk|go|step] out of the {room} and down the {room2}",
        ),
        (
            "come out of the {room} and follow the {room2}",
            "get out of the {room} and walk along the {room2}",
        ),
    ),
    ("leave", "turn"): (
        (
            "[exit|leave] the {room} and [turn|go] {turn}",
            "[walk|go|head|step] out of the {room} and [turn|take a|make a] {turn}",
            "after leaving the {room}, turn {turn}",
            "when you leave the {room}, [turn|go] {turn}",
            "once out of the {room}, [turn|take a] {turn}",
        ),
        (
            "turn {turn} when you leave the {room}",
            "make a {turn} after leaving the {room}",
            "go {turn} once you are out of the {room}",
        ),
    ),
    ("leave room", "turn"): (
        (
            "[exit|leave] the room and [turn|go] {turn}",
            "after leaving the room, [turn|go] {turn}",
            "once you are out of the room, turn {turn}",
        ),
        ("turn {turn} after leaving the room", "take a {turn} once you leave the room"),
    ),
    ("enter",): (
        (
            "enter the {room}",
            "[walk|go|head|step|continue] into the {room}",
            f"{MOVE} to the {{room}}",
            "make your way into the {room}",
        ),
        ("make your way to the {room}", "step inside the {room}", "move into the {room}"),
    ),
    ("enter:side",): (
        (
            "enter the {room} on [your|the] {side}",
            "[go|walk] into the {room} on [your|the] {side}",
            "[go|head] to the {room} on your {side}",
        ),
        ("step into the {room} to your {side}", "make your way into the {room} on the {side}"),
    ),
    ("turn", "enter"): (
        (
            "turn {turn} into the {room}",
            "[take|make] a {turn} into the {room}",
            "turn {turn} and [enter|walk into|go into] the {room}",
            "turn {turn} to enter the {room}",
        ),
        ("make a {turn} to enter the {room}", "take a {turn} and step into the {room}"),
    ),
    ("straight", "enter"): (
        (
            "[walk|go|head] straight into the {room}",
            "[walk|go] straight ahead [to|into] the {room}",
            "continue forward into the {room}",
        ),
        ("keep going straight into the {room}", "move straight ahead and enter the {room}"),
    ),
    ("cross",): (
        (
            "[walk|go|head|continue] through the {room}",
            "cross the {room}",
            "[walk|go] across the {room}",
            "pass through the {room}",
        ),
        (
            "make your way through the {room}",
            "move across the {room}",
            "keep going through the {room}",
        ),
    ),
    ("cross h",): (
        (
            "[walk|go|head|continue|move] down the {room}",
            "follow the {room}",
            "[walk|continue] along the {room}",
        ),
        ("make your way down the {room}", "keep walking along the {room}"),
    ),
    ("turn", "cross h"): (
        (
            "turn {turn} and [walk|go|head|continue] down the {room}",
            "turn {turn} down the {room}",
            "[take|make] a {turn} and follow the {room}",
            "turn {turn} and follow the {room}",
        ),
        ("make a {turn} down the {room}", "turn {turn} to follow the {room}"),
    ),
    ("turn", "cross"): (
        (
            "turn {turn} and [walk|go|head] through the {room}",
            "make a {turn} and [go|head] through the {room}",
            "take a {turn} and cross the {room}",
        ),
        ("make a {turn} through the {room}", "turn {turn} and make your way across the {room}"),
    ),
    ("straight", "cross h"): (
        ("[walk|go|head|continue] straight down the {room}", "go straight along the {room}"),
        ("keep going straight down the {room}", "move straight ahead down the {room}"),
    ),
    ("past",): (
        (
            "[walk|go|move|head|continue] past the {thing}",
            "pass the {thing}",
            "pass by the {thing}",
            "keep going past the {thing}",
        ),
        (
            "make your way past the {thing}",
            "keep walking past the {thing}",
            "walk right by the {thing}",
        ),
    ),
    ("past:side",): (
        (
            "[pass|walk past|go past] the {thing} on [your|the] {side}",
            "pass the {thing}, which is on your {side}",
            "walk with the {thing} on your {side}",
        ),
        ("keep the {thing} on your {side}", "continue with the {thing} to your {side}"),
    ),
    ("past", "past"): (
        (
            "[walk|go|continue] past the {thing} and the {thing2}",
            "pass the {thing} and then the {thing2}",
        ),
        ("make your way past the {thing} and the {thing2}",),
    ),
    ("past", "turn"): (
        (
            "[walk|go|head] past the {thing} and [turn|go] {turn}",
            "after you pass the {thing}, [turn|go] {turn}",
            "pass the {thing} and [take|make] a {turn}",
            "once past the {thing}, turn {turn}",
        ),
        ("turn {turn} after you pass the {thing}", "make a {turn} once past the {thing}"),
    ),
    ("past", "enter"): (
        (
            "[walk|go|head] past the {thing} [into|and into|and enter] the {room}",
            "pass the {thing} and [enter|walk into|go to] the {room}",
            "pass the {thing} on the way to the {room}",
        ),
        ("enter the {room} after you pass the {thing}", "walk by the {thing} and into the {room}"),
    ),
    ("cross h", "past"): (
        (
            "[walk|go|head|continue] down the {room} past the {thing}",
            "follow the {room} past the {thing}",
        ),
        (
            "make your way down the {room}, past the {thing}",
            "move along the {room} past the {thing}",
        ),
    ),
    ("cross", "past"): (
        (
            "[walk|go|head] through the {room} past the {thing}",
            "cross the {room}, passing the {thing}",
        ),
        (
            "make your way through the {room} past the {thing}",
            "go across the {room}, past the {thing}",
        ),
    ),
    ("pass_room",): (
        ("[walk|go|continue] past the {room}", "pass the {room}", "keep going past the {room}"),
        ("make your way past the {room}", "move past the {room}"),
    ),
    ("pass_room:side",): (
        (
            "[pass|walk past|go past] the {room} on [your|the] {side}",
            "continue past the {room} on your {side}",
        ),
        ("keep going past the {room} on the {side}", "pass by the {room} to your {side}"),
    ),
    ("cross h", "pass_room"): (
        (
            "[walk|go|head|continue] down the {room} past the {room2}",
            "follow the {room} past the {room2}",
        ),
        ("make your way down the {room}, past the {room2}",),
    ),
    ("reach",): (
        (
            "[walk|go|head|move] to the {thing}",
            "[walk|go|head] [toward|towards|over to|up to] the {thing}",
            "walk until you reach the {thing}",
        ),
        ("make your way to the {thing}", "keep going until you reach the {thing}"),
    ),
    ("reach", "turn"): (
        (
            "at the {thing}, [turn|go] {turn}",
            "turn {turn} at the {thing}",
            "when you reach the {thing}, [turn|take a] {turn}",
            "once you get to the {thing}, turn {turn}",
            "walk to the {thing} and turn {turn}",
        ),
        ("make a {turn} at the {thing}", "turn {turn} when you get to the {thing}"),
    ),
    ("end",): (
        (
            "[walk|go|head|continue] to the end of the {room}",
            "[walk|go] all the way to the end of the {room}",
            "follow the {room} to the end",
        ),
        (
            "make your way to the end of the {room}",
            "keep walking until you reach the end of the {room}",
        ),
    ),
    ("end", "turn"): (
        (
            "at the end of the {room}, [turn|go|take a] {turn}",
            "[walk|go] to the end of the {room} and turn {turn}",
            "turn {turn} at the end of the {room}",
        ),
        (
            "make a {turn} at the end of the {room}",
            "when you reach the end of the {room}, go {turn}",
        ),
    ),
    ("take:side",): (
        (
            "[take|go through|enter] the {ordinal} door on [your|the] {side}",
            "[walk|head] through the {ordinal} door on your {side}",
        ),
        (
            "go into the {ordinal} door on the {side}",
            "make your way through the {ordinal} door on your {side}",
        ),
    ),
}

# The last clause; what it says stands before 'stop' in the key.
ENDINGS: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("stop",): (
        ("stop", "stop there", "wait there", "stop here", "stop right there"),
        ("wait right there", "stand there and wait"),
    ),
    ("enter", "stop"): (
        (
            "[enter|walk into|go into|step into] the {room} and [stop|wait there|stop there]",
            "stop once you enter the {room}",
            "stop just inside the {room}",
            "wait right inside the {room}",
            "stop when you are inside the {room}",
        ),
        (
            "wait once you are inside the {room}",
            "stop as soon as you enter the {room}",
            "stand just inside the {room}",
        ),
    ),
    ("reach", "stop"): (
        (
            f"{STOP} {NEXT} the {{thing}}",
            "[stop|wait] at the {thing}",
            "[walk|go] to the {thing} and [stop|wait there]",
            "stop when you reach the {thing}",
            "stop right [next to|in front of|by] the {thing}",
            "stop once you get to the {thing}",
            "stop as soon as you reach the {thing}",
        ),
        (
            "wait when you get to the {thing}",
            "go over to the {thing} and stop right there",
            "stop once you are next to the {thing}",
            "stand right by the {thing}",
            "make your way to the {thing} and wait",
        ),
    ),
    ("enter", "reach", "stop"): (
        (
            "[enter|walk into] the {room} and [stop|wait] [next to|near|by|beside] the {thing}",
            "[stop|wait] [next to|near|by] the {thing} in the {room}",
            "in the {room}, [stop|wait] [next to|by|in front of] the {thing}",
            "[walk|go] to the {thing} in the {room} and stop",
        ),
        (
            "stand beside the {thing} in the {room}",
            "wait inside the {room} next to the {thing}",
            "make your way to the {thing} in the {room} and wait there",
        ),
    ),
    ("stay", "stop"): (
        ("[stop|wait|pause] in the {room}", "stop inside the {room}", "stop once in the {room}"),
        ("stand inside the {room}", "wait once in the {room}"),
    ),
    ("doorway", "stop"): (
        (
            "[stop|wait|stand] in the doorway [of|to] the {room}",
            "[stop|wait] at the entrance [of|to] the {room}",
            "[stop|pause] in the {room} doorway",
            "wait by the {room} door",
            "stop at the door [of|to] the {room}",
        ),
        (
            "pause at the doorway to the {room}",
            "stand at the door of the {room}",
            "wait in the entrance of the {room}",
        ),
    ),
    ("outside", "stop"): (
        (
            "[stop|wait] [outside|just outside|right outside] the {room}",
            "stop before you enter the {room}",
        ),
        ("stand just outside the {room}", "wait before you enter the {room}"),
    ),
    ("end", "stop"): (
        (
            "[stop|wait] at the end of the {room}",
            "[walk|go] to the end of the {room} and stop",
            "stop when you reach the end of the {room}",
        ),
        ("stand at the end of the {room}", "stop once you get to the end of the {room}"),
    ),
}
