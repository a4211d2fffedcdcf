import unittest

from fetch_post import fetch_title


class FetchTitle(unittest.TestCase):
    def test_title(self):
        self.assertTrue(fetch_title().startswith("sunt aut"))
