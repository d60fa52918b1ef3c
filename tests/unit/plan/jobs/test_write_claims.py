"""What the judge of claims is given."""

import json

from umtfss.experiment.load import load_experiment
from umtfss.plan.jobs.write_claims import WriteClaims
from umtfss.plan.plan import Plan


def test_a_job_names_the_files_of_its_claims_and_comes_back_from_its_params():
    plan = Plan(load_experiment("demo_seeds"))
    job = WriteClaims.of(plan, None)
    files = {m.path for claim in job.claims for m in claim.measurements}
    assert files == set(plan.inputs.claim_inputs)
    assert WriteClaims.read(json.loads(json.dumps(job.params()))) == job


def test_tokens_are_those_of_a_square_image():
    assert WriteClaims.of(Plan(load_experiment("demo_seeds")), None).tokens == 18 * 18


def test_development_splits_of_every_table_are_named_once():
    assert WriteClaims.of(Plan(load_experiment("voc_dev")), None).development == ("pascal/dev",)
