"""Cluster the pixel embeddings of an unlabelled pool."""

from umtfss.clustering.centroids import save_centroids
from umtfss.clustering.pixel_kmeans import fit_centroids
from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.features.store import FeatureStore
from umtfss.plan.jobs.cluster_pixels import ClusterPixels

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    job = ClusterPixels.read(snakemake.params.job)
    store = FeatureStore(snakemake.input)
    centroids = fit_centroids(
        store, job.level, store.ids, job.clusters, job.settings, job.settings.seed
    )
    save_centroids(snakemake.output.centroids, centroids)
