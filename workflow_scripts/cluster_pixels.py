"""Cluster the pixel embeddings of an unlabelled pool."""

from umtfss.clustering.pixel_kmeans import fit_centroids, save_centroids
from umtfss.config import ClusteringConfig
from umtfss.device import prepare_process
from umtfss.features.store import FeatureStore
from umtfss.log import job_log

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    settings = ClusteringConfig.model_validate(snakemake.params.settings)
    store = FeatureStore(snakemake.input)
    centroids = fit_centroids(
        store,
        snakemake.params.level,
        store.ids,
        snakemake.params.clusters,
        settings,
        settings.seed,
    )
    save_centroids(snakemake.output[0], centroids)
