"""The rule maker finds where algorithms cross, takes no noise for a rule, and merges what is next
to each other."""

import unittest

import made_up
from made_up import SIZES, all_alike, measured
from rules import Rule, by_chance, decide, middle, prune, rules_of

DIRECT = Rule("direct")


def rules(collective, times, any_order=False, **how):
    return rules_of(measured(times, **how), made_up.facts(), collective, any_order)


def faster(times, collective, ranks, sizes, name, factor=0.5):
    for each in ranks:
        for size in sizes:
            times[collective, each, size, name] *= factor


class Crossovers(unittest.TestCase):
    def test_nothing_is_better(self):
        self.assertEqual(rules("broadcast", all_alike("broadcast", [2, 3, 4])), [DIRECT])

    def test_from_a_size_on(self):
        times = all_alike("broadcast", [4])
        faster(times, "broadcast", [4], SIZES[4:], "tree")
        self.assertEqual(rules("broadcast", times),
                         [Rule("tree", 4, start=1 << 15, crowded=True), DIRECT])

    def test_up_to_a_size(self):
        times = all_alike("broadcast", [4])
        faster(times, "broadcast", [4], SIZES[:2], "ring")
        self.assertEqual(rules("broadcast", times),
                         [Rule("ring", 4, end=1 << 11, crowded=True), DIRECT])

    def test_two_algorithms(self):
        times = all_alike("broadcast", [2])
        faster(times, "broadcast", [2], SIZES[1:3], "tree")
        faster(times, "broadcast", [2], SIZES[3:], "ring")
        found = rules("broadcast", times)
        self.assertEqual([decide(found, 2, size, False) for size in SIZES],
                         ["direct", "tree", "tree", "ring", "ring", "ring", "ring"])
        self.assertEqual(len(found), 3)

    def test_one_size_alone(self):
        times = all_alike("barrier", [2, 3], sizes=(0,))
        faster(times, "barrier", [2, 3], [0], "dissemination")
        self.assertEqual(rules("barrier", times), [Rule("dissemination"), DIRECT])

    def test_ends_are_halfway(self):
        self.assertEqual((middle(1 << 10, 1 << 12), middle(8, 64)), (1 << 11, 1 << 4))


class Noise(unittest.TestCase):
    def test_is_no_rule(self):
        times = all_alike("broadcast", [2, 4])
        self.assertEqual(rules("broadcast", times, noise=0.3), [DIRECT])

    def test_four_percent_are_too_few(self):
        times = all_alike("broadcast", [2])
        faster(times, "broadcast", [2], SIZES, "tree", 0.96)
        self.assertEqual(rules("broadcast", times), [DIRECT])

    def test_ten_percent_are_enough(self):
        times = all_alike("broadcast", [2])
        faster(times, "broadcast", [2], SIZES, "tree", 0.9)
        self.assertEqual(rules("broadcast", times), [Rule("tree"), DIRECT])

    def test_ten_percent_are_too_few_if_they_vary_by_more(self):
        times = all_alike("broadcast", [2])
        faster(times, "broadcast", [2], SIZES, "tree", 0.9)
        self.assertEqual(rules("broadcast", times, noise=0.5), [DIRECT])

    def test_few_rounds_say_nothing(self):
        times = all_alike("broadcast", [2])
        faster(times, "broadcast", [2], SIZES, "tree")
        few = measured(times)
        for turns in few.turns.values():
            del turns[6:]
        self.assertEqual(rules_of(few, made_up.facts(), "broadcast"), [DIRECT])


    def test_chance_is_that_of_coins(self):
        self.assertEqual(by_chance(3, 3), 1 / 8)
        self.assertEqual(by_chance(2, 3), 1 / 2)
        self.assertEqual(by_chance(0, 5), 1)


class Merging(unittest.TestCase):
    def test_a_size_without_difference_is_spanned(self):
        times = all_alike("broadcast", [4])
        faster(times, "broadcast", [4], [*SIZES[1:3], *SIZES[4:6]], "tree")
        self.assertEqual(rules("broadcast", times),
                         [Rule("tree", 4, 1 << 6, 1 << 19, crowded=True), DIRECT])

    def test_a_size_at_which_it_is_slower_is_not(self):
        times = all_alike("broadcast", [4])
        faster(times, "broadcast", [4], [*SIZES[1:3], *SIZES[4:6]], "tree")
        faster(times, "broadcast", [4], [SIZES[3]], "tree", 1.2)
        found = rules("broadcast", times)
        self.assertEqual(len(found), 3)
        self.assertEqual(decide(found, 4, SIZES[3], True), "direct")

    def test_the_second_best_if_it_saves_a_rule(self):
        times = all_alike("broadcast", [4])
        faster(times, "broadcast", [4], SIZES[3:], "tree")
        faster(times, "broadcast", [4], [SIZES[5]], "ring", 0.49)
        self.assertEqual([rule.algorithm for rule in rules("broadcast", times)],
                         ["tree", "direct"])

    def test_numbers_of_ranks(self):
        times = all_alike("broadcast", [2, 3, 4])
        faster(times, "broadcast", [3, 4], SIZES[4:], "tree")
        self.assertEqual(rules("broadcast", times),
                         [Rule("tree", 3, start=1 << 15, crowded=True), DIRECT])

    def test_more_ranks_that_want_none_of_it(self):
        times = all_alike("broadcast", [2, 3, 4])
        faster(times, "broadcast", [3], SIZES[4:], "tree")
        faster(times, "broadcast", [4], SIZES[4:], "tree", 3)
        found = rules("broadcast", times)
        for ranks in (2, 3, 4):
            for size in SIZES:
                wanted = "tree" if ranks == 3 and size in SIZES[4:] else "direct"
                self.assertEqual(decide(found, ranks, size, ranks > 2), wanted, (ranks, size))
        self.assertEqual(len(found), 3)

    def test_rules_that_decide_nothing_go(self):
        cases = [(2, size, False) for size in SIZES]
        for needless in (Rule("ring", ranks=5), Rule("ring", crowded=True),
                         Rule("direct", start=16)):
            self.assertEqual(prune([needless, Rule("tree", end=8), DIRECT], cases),
                             [Rule("tree", end=8), DIRECT])


class Orders(unittest.TestCase):
    def test_only_in_rank_order_unless_asked_for(self):
        times = all_alike("all_reduce", [2])
        faster(times, "all_reduce", [2], SIZES, "ring", 0.3)
        faster(times, "all_reduce", [2], SIZES[:2], "primary")
        self.assertEqual(rules("all_reduce", times), [Rule("primary", end=1 << 11), DIRECT])
        self.assertEqual(rules("all_reduce", times, any_order=True), [Rule("ring"), DIRECT])


if __name__ == "__main__":
    unittest.main(verbosity=2)
