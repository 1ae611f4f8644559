"""LangGoalIRL on Ray: RLlib algorithm, runner, learner and module; evaluation of runs."""
