"""Texts hidden in expressions of constants."""

import ast

import pytest

from llamatrix.trials.checks.keys import constant_texts

HIDDEN = [
    "K = 'ab' + 'cd'",
    "K = ('a' 'b' + 'c') + 'd'",
    "PARTS = ['ab', 'cd']\nK = ''.join(PARTS)",
    "A = 'ab'\nK = f'{A}cd'",
    "K = 'dcba'[::-1]",
    "K = ''.join(reversed('dcba'))",
    "K = base64.b64decode('YWJjZA==').decode()",
    "K = bytes.fromhex('61626364').decode()",
    "K = bytes([97, 98, 99, 100]).decode()",
    "K = chr(97) + chr(98) + chr(99) + chr(100)",
    "K = codecs.decode('nopq', 'rot13')",
    "K = 'a%sd' % 'bc'",
    "K = 'a{}d'.format('bc')",
    "K = 'a-b-c-d'.replace('-', '')",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_what_it_comes_to_is_found(text: str) -> None:
    assert "abcd" in {found for _, found in constant_texts(ast.parse(text))}


@pytest.mark.parametrize(
    "text",
    [
        "K = 'x' * 10**9",
        "K = '%999999999d' % 1",
        "K = K + 'a'",
        "K = '{' .format()",
        "K = ''[::0]",
        "K = chr(-1)",
        "K = " + "(" * 80 + "'a'" + ")" * 80 + "+'b'" * 60,
    ],
)
def test_an_expression_that_cannot_or_must_not_be_computed_is_passed_over(
    text: str,
) -> None:
    assert all(len(found) < 100 for _, found in constant_texts(ast.parse(text)))


def test_names_that_double_the_work_are_given_up() -> None:
    lines = [f"K{n} = K{n + 1} + K{n + 1}" for n in range(38)]
    tree = ast.parse("\n".join([*lines, "K38 = ''"]))
    assert all(len(found) == 0 for _, found in constant_texts(tree))
