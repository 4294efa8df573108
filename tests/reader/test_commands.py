"""mammocalc train and evaluate answer a user's mistake with a sentence."""

from typer.testing import CliRunner

from mammography.command_line import command_line

RUN = CliRunner()


def test_evaluate_names_a_folder_that_holds_no_weights(tmp_path):
    answer = RUN.invoke(command_line(), ["evaluate", "--weights", str(tmp_path)])
    assert answer.exit_code == 2
    assert "holds no plan.json: name a folder that mammocalc train wrote." in answer.stderr


def test_evaluate_does_not_measure_on_seeds_that_training_uses():
    answer = RUN.invoke(command_line(), ["evaluate", "--seed", "1000000000"])
    assert answer.exit_code == 2
    assert "999999999" in answer.stderr.replace("\n", "")


def test_train_does_not_resume_what_never_began(tmp_path):
    answer = RUN.invoke(command_line(), ["train", "--out", str(tmp_path), "--resume"])
    assert answer.exit_code == 2
    assert "to go on from" in answer.stderr
