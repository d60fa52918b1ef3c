"""Draw the pseudo-episodes of a pool."""

from umtfss.common.digests import digest_file
from umtfss.common.log import job_log
from umtfss.common.manifests import write_manifest
from umtfss.data.index import DatasetIndex
from umtfss.episodes.draw_unlabelled import draw_pseudo_episodes, epoch_length, fold_images
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.pseudo_masks.store import PseudoMaskStore
from umtfss.training.schedule import total_steps

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    pool, fold, seed = (snakemake.wildcards[key] for key in ("pool", "fold", "seed"))
    stage = plan.experiment.training[pool]
    store = PseudoMaskStore(plan.pseudo_masks(pool))
    indexes = map(DatasetIndex.load, snakemake.input.indexes)
    allowed = fold_images(fold, indexes, plan.experiment.datasets)
    regions = store.object_regions(plan.experiment.episodes.max_border)
    images = epoch_length(store.ids, regions, shot=stage.shot, allowed_ids=allowed)
    draw_pseudo_episodes(
        store.ids,
        regions,
        shot=stage.shot,
        count=total_steps(stage, images) * stage.batch_size,
        seed=int(seed),
        settings=plan.experiment.episodes,
        allowed_ids=allowed,
        key=f"train/{pool}/unsup-{fold}",
    ).save(snakemake.output.episodes)
    digest = digest_file(snakemake.output.episodes)
    write_manifest(snakemake.output.manifest, "episodes", digest, images_per_epoch=images)
