"""Describes each hyper-parameter of the methods, and each setting of the testbeds and the evaluators, in one line.

The name of a hyper-parameter means the same in all methods. The name of a setting means the same in all testbeds and
evaluators. One table for the hyper-parameters and one for the settings are therefore enough.
"""

from __future__ import annotations

from collections.abc import Mapping

OPTION_TEXTS: Mapping[str, str] = {
    # the data
    "source": "the answers to imitate: the demonstrations of the data, or the chosen answers of its pairs",
    "examples": "number of answers to train on, drawn with the seed (0: all)",
    "pairs": "number of pairs to train on, drawn with the seed (0: all)",
    "rankings": "number of rankings to train on, drawn with the seed (0: all)",
    "prompts": "number of prompts to use, in each round or step if there are several (0: all)",
    "levels": "use only prompts of these levels (none: all levels)",
    "flips": "share of the pairs whose label is inverted, as noise",
    "demonstration": "add the demonstration of the data to each prompt's answers",
    "models": "two or more saved reward models whose weights are averaged",
    "max_completion_tokens": "longest answer in tokens; longer answers are cut",
    # the loop
    "epochs": "number of passes over the data, or over the answers of one step or round",
    "rounds": "number of rounds of sampling and training; a compute budget overrides it",
    "steps": "number of steps of sampling and training; a compute budget overrides it",
    "batch_size": "number of rows in one update",
    "rollouts": "number of sampled answers that one step trains on",
    "mini_batches": "number of updates into which the answers of a step are divided",
    "group": "number of answers to each prompt",
    "restart": "start each round from the initial weights",
    # losses on pairs and rankings
    "loss": "the preference loss",
    "beta": "strength of the pull to the reference, or scale of the margin (none: the loss's own default)",
    "loss_settings": "further settings of the loss: NAME VALUE ...",
    "sft_coefficient": "weight of an additional loss: the negative log-likelihood of the chosen answer",
    "score_scale": "factor on the scores; the differences between scores weigh the contrasts",
    "desirable_weight": "weight of desirable answers",
    "undesirable_weight": "weight of undesirable answers",
    # reward models
    "margin": "factor on the margin of a pair, by which its two scores must differ (0: no margin)",
    "soft_labels": "use the probability of a pair as its label",
    "label_smoothing": "share of the labels that is assumed to be wrong",
    "length_debias": "fit the effect of an answer's length separately and leave it out of the model",
    "member": "number of the ensemble's member; each member has its own data order and initial head",
    "shared_head": "give all members the same initial head, so that their weights can be averaged",
    # policy gradients
    "clip": "clip the ratio of new to old probability to 1 +- this value",
    "clip_high": "upper clip of the ratio, if it differs (none: same as `clip`)",
    "kl_coefficient": "coefficient of the KL to the reference, in the reward or in the loss",
    "kl_estimator": "estimator of the KL in the reward",
    "kl_target": "adapt the KL coefficient to reach this KL (none: fixed coefficient)",
    "kl_horizon": "number of answers over which the KL coefficient adapts",
    "reward_scale": "factor on the scores, after `reward_bias` is added",
    "reward_bias": "constant that is added to the scores, before the factor",
    "reward_clip": "bound on the absolute value of the scaled scores (none: no bound)",
    "reference_ema": "rate at which the reference follows the policy (0: the reference is fixed)",
    "ratio_guard": "skip an update if its mean ratio exceeds this value (none: skip no update)",
    "loss_average": "how the loss is averaged over tokens",
    "normalise_std": "divide advantages by the standard deviation of their group",
    "normalise_advantages": "normalise the advantages of a step to mean 0 and standard deviation 1",
    "dynamic_sampling": "replace prompts whose answers all have the same score",
    "most_draws": "largest number of draws in a step if prompts are replaced",
    "overlong_window": "reduce the reward of answers that end within this many tokens of the limit (0: never)",
    "overlong_penalty": "largest reduction of the reward for overlong answers",
    "truncated": "how to treat an answer that reached the length limit",
    "group_baseline": "subtract the mean score of the group from each score",
    "drop_ties": "leave out prompts whose answers all have the same score",
    # the cost
    "threshold": "largest allowed mean cost of the policy's answers",
    "multiplier": "first value of the multiplier that weighs the cost against the reward",
    "multiplier_rate": "learning rate of the logarithm of the multiplier",
    "multiplier_max": "largest multiplier (none: no bound)",
    "cost_clip": "bound on the absolute value of a cost in training (none: no bound)",
    # the critic
    "gamma": "discount factor per token",
    "lam": "lambda of the generalised advantage estimate",
    "value_clip": "largest change of a value from the old value (none: no limit)",
    "normalise_values": "normalise returns by their running mean and standard deviation",
    "value_decay": "decay rate of that running mean and standard deviation",
    "critic_from": "the weights from which the critic starts",
    "critic_warmup": "number of first steps that train only the critic",
    # drawing
    "n": "number of sampled answers, of which one is submitted",
    "selector": "what chooses the answer to submit",
    "samples": "number of sampled answers to each prompt",
    "rule": "how pairs are made from the answers to a prompt",
    "right": "lowest score of a correct answer (none: a pair only needs two different scores)",
    "fill": "use the demonstration as the chosen answer if no sample is correct",
    "most": "largest number of correct answers that are kept for a prompt",
    "max_new_tokens": "longest answer in tokens",
    "temperature": "sampling temperature (0: greedy decoding)",
    "top_k": "sample from this many likeliest tokens (0: all tokens)",
    "top_p": "sample from the likeliest tokens that have this total probability",
    # the optimizer (AdamW)
    "learning_rate": "highest learning rate",
    "beta1": "decay rate of the first moment",
    "beta2": "decay rate of the second moment",
    "eps": "constant that is added to the square root of the second moment",
    "weight_decay": "decoupled weight decay",
    "schedule": "how the learning rate changes over the run",
    "warmup": "share of the run in which the learning rate rises",
    "clip_norm": "largest gradient norm; longer gradients are scaled down (0: no limit)",
}

SETTING_TEXTS: Mapping[str, str] = {
    # the data
    "data": "the data: a file, a folder or a hub name",
    "split": "the split to read, if the data have several",
    "rows": "number of records to read from each source (none: all)",
    "fields": "the names of the fields in your data: NAME FIELD ...",
    "subsets": "the subsets to read",
    "seed": "the seed that the problems are generated with",
    # the splits
    "train": "number of problems to train on",
    "validation": "the validation data: a share, a number of problems, or (jsonl) a file",
    "test": "the test data: a share, a number of problems, or (jsonl) a file",
    "part": "the part of the data that training and validation use",
    "fractions": "shares of the data for the policy, the evaluator and the test",
    "evaluator_share": "share of the first user turns that is reserved for an evaluator",
    # how the testbed changes the data
    "wrong_share": "share of the demonstrations that are wrong",
    "vague_share": "share of the steps that get a vague phrase, if there is one",
    "inverted_share": "share of the statements that name their steps from the inside out",
    "max_prompt_chars": "drop pairs with a longer prompt (none: drop no pair)",
    "max_answer_chars": "drop pairs with a longer answer (none: drop no pair)",
    "public_first": "number of first tests to make public if a problem has no public tests",
    "several": "what to do with problems that have several right answers",
    "evidence": "a file that names the problems with several right answers",
    "max_tests": "most tests of a problem (none: all)",
    "slack": "factor on the time limit that a problem states",
    "shots": "number of solved examples before each statement",
    "completion": "give the statement as the beginning of the function",
    # the judge
    "judge": "the judge that tests the answers: sandbox, or module:function",
    "compare": "how the sandbox compares the output of a program",
    "time_limit_s": "time limit of a test in seconds",
    "memory_limit_mb": "memory limit of a test in megabytes",
    "workers": "number of programs to judge at a time (0: one per core)",
    "backend": "the sandbox: bubblewrap, or bare (no sandbox)",
    "packages": "packages that programs may import, besides NumPy and sortedcontainers",
    "every": "run all tests, also after the first test that fails",
    # a reward model as the evaluator
    "path": "the directory of a saved reward model",
    "trained_on": "what a model from elsewhere was trained on, in your words, for the report",
    "mean": "a number that is subtracted from the scores",
    "std": "a number that the scores are divided by, after the subtraction",
    "tokens": "most tokens of a forward pass",
}
