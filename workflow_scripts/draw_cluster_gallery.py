"""Draw the most central regions of every cluster, and measure the clusters' purity."""

from umtfss.common.files import write_json
from umtfss.common.log import job_log
from umtfss.data.catalog import Catalog
from umtfss.data.open import open_datasets
from umtfss.figures.gallery import cluster_gallery
from umtfss.figures.purity import cluster_purity
from umtfss.plan.jobs.draw_cluster_gallery import DrawClusterGallery
from umtfss.pseudo_masks.store import PseudoMaskStore

with job_log(snakemake.log[0]):
    job = DrawClusterGallery.read(snakemake.params.job)
    catalog = Catalog(open_datasets(job.datasets))
    store = PseudoMaskStore(snakemake.input.masks)
    cluster_gallery(store, catalog, snakemake.output.gallery)
    labelled = [i for i in store.ids if catalog.datasets[i.split("/")[0]].has_masks]
    purity = cluster_purity(store, catalog, labelled) if labelled else {"images": 0}
    write_json(snakemake.output.purity, purity)
