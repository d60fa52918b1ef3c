"""Draw the labelled training episodes of a fold's base classes at one label ratio."""

from umtfss.common.digests import digest_file
from umtfss.common.log import job_log
from umtfss.common.manifests import write_manifest
from umtfss.data.index import DatasetIndex
from umtfss.data.splits import base_classes, novel_classes
from umtfss.episodes.draw_labelled import draw_base_episodes, labelled_epoch_length
from umtfss.episodes.label_subsets import label_subset
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.training.schedule import total_steps

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    of, settings = snakemake.wildcards, plan.experiment.datasets[snakemake.wildcards.dataset]
    index = DatasetIndex.load(snakemake.input[0])
    stages, area = plan.label_stages(of.dataset), settings.min_class_area
    fold, ratio, seed = int(of.fold.removeprefix("fold")), int(of.ratio), int(of.seed)
    base, shot = base_classes(settings.kind, fold), stages[0].shot
    allowed = label_subset(index, base, ratio=ratio, floor=shot + 1, min_area=area, seed=seed)
    if plan.experiment.episodes.novel_images == "exclude":
        novel = set(index.images_with(novel_classes(settings.kind, fold), 1))
        allowed = [image_id for image_id in allowed if image_id not in novel]
    pool = {"shot": shot, "min_area": area, "allowed_ids": allowed}
    images = labelled_epoch_length(index, base, **pool)
    draw_base_episodes(
        index,
        base,
        count=max(total_steps(stage, images) * stage.batch_size for stage in stages),
        seed=seed,
        key=f"train/{of.dataset}/sup-{of.fold}-labels{ratio}",
        **pool,
    ).save(snakemake.output.episodes)
    digest = digest_file(snakemake.output.episodes)
    facts = {"images_per_epoch": images, "labelled_images": len(allowed)}
    write_manifest(snakemake.output.manifest, "episodes", digest, **facts)
