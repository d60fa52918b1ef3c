"""Notes on methods."""

from umtfss.experiment.models import MODELS
from umtfss.plan.tables.method_notes import NOTES, method_note


def test_notes_are_of_models_and_make_sentences() -> None:
    assert set(NOTES) <= set(MODELS)
    assert method_note(["umtfss", "transductive"]) == f"{NOTES['transductive']}."
    assert method_note(["umtfss"]) == ""
