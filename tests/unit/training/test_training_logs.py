import pytest

from vidweave.errors import TrainingError
from vidweave.training.logs import CsvLog


def _write(path, steps, last_step=0):
    log = CsvLog(path, last_step=last_step)
    for step in steps:
        log.write({"step": step, "loss": step / 3})
    log.close()


def test_floats_read_back_exactly(tmp_path):
    _write(tmp_path / "a.csv", range(1, 4))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "step,loss"
    assert [float(line.split(",")[1]) for line in lines[1:]] == [1 / 3, 2 / 3, 3 / 3]


@pytest.mark.parametrize("last_step", [0, 2, 5, 9])
def test_resuming_drops_rows_after_the_checkpoint(tmp_path, last_step):
    _write(tmp_path / "a.csv", range(1, 6))
    with (tmp_path / "a.csv").open("a") as file:
        file.write("6,0.3")  # killed in the middle of a line
    _write(tmp_path / "a.csv", range(last_step + 1, 12), last_step=last_step)
    steps = [int(line.split(",")[0]) for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    assert steps == [*range(1, min(last_step, 5) + 1), *range(last_step + 1, 12)]


def test_a_new_part_in_the_middle_is_an_error_and_a_missing_one_an_empty_cell(tmp_path):
    log = CsvLog(tmp_path / "a.csv", last_step=0)
    log.write({"step": 1, "loss": 1.0, "part": 2.0})
    log.write({"step": 2, "loss": 1.0})
    with pytest.raises(TrainingError, match=r"a.csv has no column 'more'; objectives must return the same parts"):
        log.write({"step": 3, "loss": 1.0, "more": 1.0})
    log.close()
    assert (tmp_path / "a.csv").read_text().splitlines()[2] == "2,1.0,"


def test_a_full_disk_is_reported(tmp_path):
    log = CsvLog(tmp_path / "a.csv", last_step=0)
    log._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
    with pytest.raises(TrainingError, match=r"a.csv could not be written \(.*No space left.*\); free space and resume"):
        log.write({"step": 1})
    log.close()
