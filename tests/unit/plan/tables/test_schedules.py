"""How the models of a table were trained, said from the settings."""

from umtfss.experiment.load import load_experiment
from umtfss.experiment.training import TrainingConfig
from umtfss.plan.plan import Plan
from umtfss.plan.tables.schedules import schedule_note


def test_models_of_one_schedule_share_a_part_of_the_sentence() -> None:
    stage = TrainingConfig(
        steps=30,
        batch_size=4,
        sgd_lr=0.002,
        lr_multiplier=15,
        models={"pfenet": {"sgd_lr": 0.01}, "masksplit": {"optimiser": "adamw", "adamw_lr": 5e-4}},
    )
    adam = TrainingConfig(
        epochs=100, batch_size=16, optimiser="adam", adamw_lr=1e-4, decay="constant"
    )
    experiment = load_experiment("demo").model_copy(
        update={"training": {"a": stage, "b": adam}, "fine_tuning": {}}
    )
    note = schedule_note(
        experiment,
        [
            (
                "Training without labels",
                "training",
                "a",
                ["umtfss", "cyctr", "pfenet", "masksplit"],
            ),
            ("Fine-tuning", "fine_tuning", "a", ["umtfss"]),
            ("Nothing", "training", "a", []),
            ("Splits", "training", "b", ["masksplit"]),
        ],
    )
    assert note == (
        "Training without labels: UMTFSS and CyCTR 30 steps of 4 episodes at SGD 0.03, "
        "AdamW 0.0001 in the transformer; PFENet 30 steps of 4 episodes at SGD 0.15; MaskSplit 30 "
        "steps of 4 episodes at AdamW 0.0005. "
        "Splits: MaskSplit 100 epochs of 16 episodes at Adam 0.0001."
    )


def test_tables_1_2_and_6_say_it_of_their_own_runs() -> None:
    plan = Plan(load_experiment("paper"))
    for name, needed in (
        ("table1", "PFENet 200 epochs of 4 episodes at SGD 0.025"),
        ("table2", "Training from scratch: PFENet 200 epochs"),
        ("table6", "Fine-tuning for coco: UMTFSS 50 epochs of 16 episodes at SGD 0.0375"),
    ):
        assert needed in plan.runs.table_named(name).note
