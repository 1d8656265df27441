import pytest

from torture.tally import Tally, finish


def test_a_table_without_faults_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally("killed [anywhere]")
    for _ in range(1200):
        tally.count()
    with pytest.raises(SystemExit) as ended:
        finish("Kills", [tally])
    assert ended.value.code == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "killed" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "killed [anywhere]",
        *("1,200", "1,200", "0"),
    ]


def test_every_fault_is_told_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally("killed")
    tally.count()
    tally.count("seed 7: traceback")
    tally.count()
    with pytest.raises(SystemExit) as ended:
        finish("Kills", [tally])
    assert ended.value.code == 1
    assert (tally.tries, tally.survived) == (3, 2)
    assert "Fault (killed): seed 7: traceback" in capsys.readouterr().out
