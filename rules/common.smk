# The functions that rules take inputs and parameters from; each asks the plan.


# What a rule's script is given: its job, and the digest of the code that does it.
def job(rule):
    def params(wildcards):
        one = job_class(rule).of(plan, wildcards)
        return {
            "code": code(f"workflow_scripts/{rule}.py", *one.modules),
            **one.params(),
        }

    return params


# data


def raw_marker(wildcards):
    return plan.raw_marker(wildcards.dataset)


def raw_folder(wildcards):
    return str(plan.dataset_root(wildcards.dataset))


# What a list of images depends on; how episodes are drawn of it is not its business.
def index_settings(wildcards):
    return experiment.datasets[wildcards.dataset].model_dump(
        mode="json", exclude={"test_split", "test_episodes", "rare_classes"}
    )


def shape_settings(wildcards):
    return settings["datasets"][wildcards.dataset]["shapes"]


# The files that a user brings have no marker: their names and sizes tell that some are new.
def raw_listing(wildcards):
    if plan.raw_marker(wildcards.dataset):
        return ""
    return digest_listing(plan.dataset_root(wildcards.dataset))


# features


def cache_levels(wildcards):
    return plan.cache_named(wildcards.dataset, wildcards.split, wildcards.cache).levels


# pseudo_masks


def shard_manifest(wildcards, embedding):
    cache = plan.embedding_cache(wildcards.dataset, wildcards.split, embedding)
    return plan.feature_manifests([cache])[int(wildcards.shard)]


def assignment_features(wildcards):
    embedding = experiment.features.assignment
    return shard_manifest(wildcards, plan.pool_embedding(wildcards.pool, embedding))


def saliency_features(wildcards):
    return shard_manifest(wildcards, plan.salient_embedding)


superpixel_settings = {
    key: settings["pseudo_masks"][key] for key in ("scale", "sigma", "min_size")
}


def saliency_level(wildcards):
    return plan.salient_embedding.level


def pool_manifests(wildcards):
    return plan.pseudo_masks(wildcards.pool, ".json")


def pool_masks(wildcards):
    return [ancient(path) for path in plan.pseudo_masks(wildcards.pool)]


def saliency_manifests(wildcards):
    return plan.saliency_masks(wildcards.pool, ".json")


def saliency_masks(wildcards):
    return [ancient(path) for path in plan.saliency_masks(wildcards.pool)]


# episodes


def test_index(wildcards):
    return plan.test_index(wildcards.dataset)


# How the weights of a run become scores of test images.
def tested_settings(run):
    return {
        "code": code(plan.model_source(run)),
        "amp": settings["evaluation"]["amp"],
        "model": plan.tested_model(run),
        "features": settings["features"]["model"],
        "live": plan.live_backbone,
    }


def episode_indexes(wildcards):
    return [] if wildcards.fold == "all" else plan.pool_indexes(wildcards.pool)


# What tells the images of a fold, if the pool's are not all taken.
def fold_areas(wildcards):
    splits = [] if wildcards.fold == "all" else experiment.pools[wildcards.pool].images
    datasets = sorted({split.split("/")[0] for split in splits})
    return {name: experiment.datasets[name].min_class_area for name in datasets}


def stage_length(stage):
    return {key: getattr(stage, key) for key in LENGTH}


def training_length(wildcards):
    return stage_length(experiment.training[wildcards.pool])


def split_length(wildcards):
    return stage_length(plan.split_stage(wildcards.pool))


def labels_length(wildcards):
    return [stage_length(stage) for stage in plan.label_stages(wildcards.dataset)]


# training


def training_inputs(wildcards):
    return plan.training_inputs(plan.run_at(wildcards.run))


def initial_weights(wildcards):
    initial = plan.run_at(wildcards.run).initial
    return (
        [ancient(f"{plan.training_folder(initial)}/weights.safetensors")]
        if initial
        else []
    )


def training_settings(wildcards):
    run = plan.run_at(wildcards.run)
    return {
        "code": code(plan.model_source(run)),
        "seed": run.seed,
        **plan.trained_with(run),
    }


# evaluation


def evaluation_spec(wildcards):
    return plan.evaluations[wildcards.run, wildcards.dataset, int(wildcards.shot)]


def evaluation_inputs(wildcards):
    return plan.evaluation_inputs(evaluation_spec(wildcards))


def evaluation_weights(wildcards):
    run = evaluation_spec(wildcards).run
    folder = plan.training_folder(run)
    return [ancient(f"{folder}/weights.safetensors")] if run.is_trained else []


def evaluation_settings(wildcards):
    spec = evaluation_spec(wildcards)
    return {
        "folds": list(spec.folds),
        "seeds": spec.seeds,
        **tested_settings(spec.run),
    }


# report


def panel_settings(wildcards):
    return tested_settings(plan.panel.run)


def panel_inputs(wildcards):
    return plan.evaluation_inputs(plan.panel)


def panel_weights(wildcards):
    return ancient(f"{plan.training_folder(plan.panel.run)}/weights.safetensors")
