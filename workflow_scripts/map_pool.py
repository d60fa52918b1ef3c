"""Link the segments of an unlabelled pool to a graph for label propagation."""

from umtfss.clustering.pool_graph import build_pool_graph, save_pool_graph
from umtfss.config import PropagationConfig
from umtfss.device import prepare_process
from umtfss.features.store import FeatureStore
from umtfss.log import job_log

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    settings = PropagationConfig.model_validate(snakemake.params.settings)
    store = FeatureStore(snakemake.input)
    graph = build_pool_graph(store, snakemake.params.level, store.ids, settings)
    save_pool_graph(snakemake.output[0], graph)
