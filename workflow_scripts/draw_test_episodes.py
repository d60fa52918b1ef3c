"""Draw the test episodes of every fold and seed."""

from umtfss.common.log import job_log
from umtfss.data.index import DatasetIndex
from umtfss.data.splits import novel_classes
from umtfss.episodes.draw_labelled import draw_test_episodes
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    name, shot = snakemake.wildcards.dataset, int(snakemake.wildcards.shot)
    settings = plan.experiment.datasets[name]
    index = DatasetIndex.load(snakemake.input[0])
    for fold in plan.experiment.tables.folds:
        for seed in range(plan.test_seeds):
            draw_test_episodes(
                index,
                novel_classes(settings.kind, fold),
                shot=shot,
                count=settings.test_episodes,
                seed=seed,
                draw=plan.experiment.episodes.draw,
                min_area=settings.min_class_area,
                rare_classes=settings.rare_classes,
                key=f"test/{name}/fold{fold}/{shot}shot/seed{seed}",
            ).save(plan.test_episodes(name, fold, shot, seed))
