"""Statements read for what they mean: each sentence here stands for others that mean the same."""

from __future__ import annotations

import pytest

from preflab.testbeds.code.several import MANY, UNSAID, choose_comparison, explain_several


@pytest.mark.parametrize(
    "text",
    [
        "If there are several partitions, Petya will be satisfied by any of them.",  # 136_d
        "The numbers can be printed in any order.",
        "Output\n\nThere is no requirement for the points to be arranged in any special order.",  # 749_b
        "If there are multiple optimal solutions, any one of them is accepted.",
        "The answer may not be unique.",
        "If several sequences exist, it does not matter which one you output.",
        "You are free to output any valid plan.",
        "Any order of the lines will be accepted.",
        "All correct answers will be accepted.",
        "The pairs may be listed in arbitrary order in your output.",
        "If there is more than one such set, print one.",
        "In case of multiple solutions output any.",
        "If the answer is not unique, output whichever you prefer.",
        "If there are many such arrays, you may output one of them.",
        "Every valid answer is considered correct.",
        "Any of the possible answers is acceptable.",
        "Print one possible arrangement.",
        "Output a single line with one valid permutation of your choice.",
        "The order of printed vertices is not important.",
        "If there are several ways, the judge accepts any.",
        "You may print the edges in whatever order.",
        "The order that the days are returned in does not matter.",
        "The combinations may be returned in any order.",
        "Find any peak element and return the length 2 array of its row and column.",
        "This problem has a special judge.",
        "A special checker is used for this problem.",
        "Multiple valid outputs are possible; the checker accepts all of them.",
        "Your program will be judged by a validator that accepts every optimal plan.",
        "You are free to print the vertices as you like.",
        "Output the list of friends (their order is up to you).",
        "When ties occur, choose at random.",
        "Output should contain such a string of length n, that has no repeated letters adjacent.",
        "You may print the numbers in whatever sequence you find convenient.",
        "The elements of the printed set can be listed in any sequence.",
        "Any valid pair will get full credit.",
        "Print a valid assignment. If there is more than one, all are accepted.",
        "Should there be multiple shortest paths, output an arbitrary one.",
        "A program checks your output, so any correct answer will pass.",
        "Output the indices in an order of your choosing.",
        "If several solutions exist, only one is required.",
        "When there are ties, you may break them however you wish. Print the winners.",
        "Output an example of such a string.",
        "Many outputs are acceptable.",
    ],
)
def test_a_choice_is_left(text: str) -> None:
    """Protects right answers from reward 0, in whatever words the statement leaves the choice."""
    assert explain_several(text) == MANY


LABELS = (
    "You want to write some labels on the tree's edges such that the following conditions hold: all labels are distinct. MEX "
    "is the smallest integer that isn't written on the unique simple path.\n\nInput\n\nThe number n.\n\nOutput\n\n"
    "Output n-1 integers. The i-th of them will be the number written on the i-th edge (in the input order)."
)
PAIRING = (
    "You have a graph. Now, do one of the following: find a simple path consisting of at least n / 2 nodes, or find a valid "
    "pairing.\n\nOutput\n\n"
    'If you have found a pairing, output "PAIRING". Then output k, the number of pairs in your pairing.\n\n'
    'Otherwise, output "PATH". Then output k integers in the order in which they appear on the path.'
)
TRIANGLE = (
    "Determine whether it is possible to locate the triangle on the plane in such a way that no side is parallel to an axis."
    "\n\nOutput\n\nPrint YES or NO. If it exists, print three pairs of integers: the coordinates of the triangle vertices."
)
OPERATIONS = (
    "Output\n\nPrint k, the minimum number of operations.\n\nIn the next k lines print 4 integers: the edge that is removed "
    "and the edge that is added."
)


GRAPH = "You are given n. Construct a graph with n vertices such that every degree is odd. Print its edges."
SUMMANDS = "Find a and b whose sum is n.\n\nOutput\n\nPrint a and b."


@pytest.mark.parametrize("text", [LABELS, PAIRING, TRIANGLE, OPERATIONS, GRAPH, SUMMANDS])
def test_a_thing_that_only_fulfils_conditions(text: str) -> None:
    """Protects right answers where the statement asks for *a* thing (1325_c, 1391_e, 407_a, 1521_d), and for nothing else."""
    assert explain_several(text) == UNSAID
    assert explain_several(f"{text} If there are several, print the lexicographically smallest one.") == ""


@pytest.mark.parametrize(
    "text",
    [
        "If there are several answers, print the lexicographically smallest one.",
        "If there are multiple answers, print the largest.",
        "In one move you can choose any vertex. Print the minimum number of moves.",
        "Print the number of ways to choose any two elements.",
        "For any two of these sets print their sum.",
        "The cards lie in arbitrary order. Print the sum.",
        "If there are several minimum elements, take the first. Print its index.",
        "Your answer is considered correct if its absolute or relative error does not exceed 1e-6.",
        "Any answer within 1e-4 relative error will be accepted.",
        "You can perform the operations in any order. Print the final string.",
        "The edges are given in arbitrary order. Output the sum.",
        "How many different answers are there? Print it modulo 7.",
        "If there are multiple test cases, print one line for each.",
        "Any graph that satisfies all of these conditions is stable.",
        "The lock displays any of these codes and stops. Print the number of turns.",
        "It can be shown that any order leads to the same result. Print it.",
        "Find the shortest path such that its length is at most k.\n\nOutput\n\nPrint the length of the path.",
        "Output\n\nFind any subsequence with maximal sum and print the sum.",
        "Output\n\nThe vertices are numbered in arbitrary order. Print the diameter.",
        "Output\n\nPrint the answer modulo 7. The order of subsets does not matter when counting.",
        "Find a pair of indices such that both values are equal. Return true if such a pair exists.",
        "Pick a card at random. Print the expected value.",
        "Print the largest sum if you may take as many coins as you like.",
        "Multiple answers are possible: print the smallest one.",
        "Print YES if such a sequence exists.",
        "There is no special judge for this problem. Print the sum.",
        "Numbers a and b are given. Print a and b after the swap.",
        "Print YES if all are accepted by the machine.",
        "Any student with ten points will pass. Print the number of such students.",
        "Ties are broken by the number of the player. Print the winner.",
        "Print the largest element in any sequence of the given family.",
        "There are many outputs. Only one is open. Print its number.",
        "Output\n\nPrint the number of fixed points. Then print their indices in increasing order.",
    ],
)
def test_one_answer_is_right(text: str) -> None:
    """Protects problems from being left out: a choice in the story is none in the answer, and a rule may decide."""
    assert explain_several(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "You can print every letter in any case you want.",
        "Print YES or NO in either upper or lower case.",
        "The case of the letters does not matter: print Yes or No.",
        "You may output each letter in any register.",
        "The answer is case-insensitive.",
        'You can output "Yes" as "yEs", "yes", "YES" too.',
        "Print YES or NO; the checker ignores letter case.",
        "Output the verdict (in any combination of upper and lower case).",
        'The strings "yEs", "yes", "Yes", and "YES" will be recognized as a positive response.',
        "Letter case of the output is not important.",
        "The answer may be printed in uppercase or lowercase.",
        "Capitalization does not matter in your output.",
        "Print the answer regardless of letter case.",
        "Each letter of the answer can be either uppercase or lowercase.",
        "Output\n\nEach letter may be in any case.",
        "Output is not case sensitive.",
        "Letter case is ignored in the answer.",
        "You can output YES/NO in capitals or small letters.",
        "You may use any mix of upper- and lowercase in the output.",
        "Answers are compared without regard to case.",
        "You can output YES/NO in any casing.",
        "Upper and lower case are treated alike in the output.",
    ],
)
def test_letters_of_either_case(text: str) -> None:
    """Protects right answers in the other case, in whatever words the statement takes them."""
    assert choose_comparison(text) == "caseless"


@pytest.mark.parametrize(
    "text",
    [
        "Convert the string to upper or lower case and print it.",
        "Print the string with the case of every letter switched.",
        "In any case print the sum.",
        "Print the answer for each test case in any order.",
        "Two words are equal if they differ only in case. Print the number of words.",
        "Ignore case when comparing the words. Print the most frequent word in lower case.",
        "The string consists of lowercase or uppercase letters. Return the longest palindrome.",
        'Print "Yes" or "No".',
        'Output\n\nThe words "Cat" and "cat" are different. Print the count.',
        "The output is case sensitive.",
        "Letters of upper and lower case are different. Print the number of letters.",
    ],
)
def test_letters_of_one_case(text: str) -> None:
    """Protects from wrong answers: what is said of the input, or of the work, is not said of the answer."""
    assert choose_comparison(text) == "tokens"
