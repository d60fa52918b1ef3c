"""Cluster the salient objects of an unlabelled pool."""

from umtfss.clustering.centroids import save_centroids
from umtfss.clustering.object_kmeans import fit_object_centroids
from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.features.store import FeatureStore
from umtfss.plan.jobs.cluster_objects import ClusterObjects
from umtfss.pseudo_masks.objects import object_features

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    job = ClusterObjects.read(snakemake.params.job)
    store = FeatureStore(snakemake.input)
    features = object_features(store, job.level, store.ids, snakemake.threads)
    centroids = fit_object_centroids(features, job.clusters, job.settings)
    save_centroids(snakemake.output.centroids, centroids)
