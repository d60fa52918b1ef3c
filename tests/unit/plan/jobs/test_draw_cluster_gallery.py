"""What the drawer of clusters is given."""

import json
from types import SimpleNamespace

from umtfss.experiment.load import load_experiment
from umtfss.plan.jobs.draw_cluster_gallery import DrawClusterGallery
from umtfss.plan.plan import Plan


def test_a_job_names_the_data_sets_of_its_pool_and_comes_back_from_its_params():
    plan = Plan(load_experiment("voc_best"))
    for pool, names in (("objects", ["pascal"]), ("all", ["coco", "imagenet", "pascal"])):
        job = DrawClusterGallery.of(plan, SimpleNamespace(pool=pool))
        assert [source.name for source in job.datasets] == names
        assert DrawClusterGallery.read(json.loads(json.dumps(job.params()))) == job
