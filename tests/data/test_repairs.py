from bigrec.data.repairs import Repair, Repairs


def test_a_check_is_recorded_with_its_count_and_action() -> None:
    repairs = Repairs()
    repairs.add("empty titles", 1, total=4, examples=["item 7"], done="Dropped.")
    assert repairs.as_rows() == [Repair("empty titles", 1, 4, ("item 7",), "Dropped.")]
    assert repairs.as_rows()[0].share == 0.25


def test_five_examples_are_kept() -> None:
    repairs = Repairs()
    repairs.add("many", 7, total=7, examples=iter("abcdefg"), done="Dropped.")
    assert repairs.as_rows()[0].examples == ("a", "b", "c", "d", "e")


def test_a_check_of_nothing_has_a_share_of_zero() -> None:
    assert Repair("any", 0, 0, (), "").share == 0.0


def test_a_later_check_of_the_same_name_replaces_the_earlier() -> None:
    repairs = Repairs()
    repairs.add("any", 1, total=4, done="Dropped.")
    repairs.add("any", 2, total=4, done="Dropped.")
    assert [row.count for row in repairs.as_rows()] == [2]


def test_json_gives_the_same_repairs_back() -> None:
    repairs = Repairs()
    repairs.add("any", 1, total=4, examples=["x"], done="Dropped.")
    repairs.add("none", 0, total=4, done="Dropped.")
    assert Repairs.from_json(repairs.to_json()).as_rows() == repairs.as_rows()
