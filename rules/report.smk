# report: pictures of clusters, of Table 2 (curves), of Table 4 (heat map) and of predictions.


rule all_figures:
    input:
        plan.figures,


rule draw_cluster_gallery:
    input:
        masks=lambda wildcards: plan.paths.pseudo_masks(wildcards.pool, ".json"),
        files=lambda wildcards: ancient(plan.paths.pseudo_masks(wildcards.pool)),
    output:
        gallery=report(
            "results/{experiment}/figures/clusters-{pool}.png",
            caption="captions/clusters.rst",
            category="Figures",
            labels={"figure": "clusters of {pool}"},
        ),
        pdf="results/{experiment}/figures/clusters-{pool}.pdf",
        purity="results/{experiment}/figures/clusters-{pool}-purity.json",
    log:
        "results/{experiment}/logs/figures/clusters-{pool}.log",
    benchmark:
        "results/{experiment}/benchmarks/figures/clusters-{pool}.tsv"
    conda:
        environment
    params:
        job=job("draw_cluster_gallery"),
    script:
        "../workflow_scripts/draw_cluster_gallery.py"


rule draw_table4_heatmap:
    input:
        "results/{experiment}/tables/table4.csv",
    output:
        report(
            "results/{experiment}/figures/table4_heatmap.png",
            caption="captions/heatmap.rst",
            category="Figures",
            labels={"figure": "Table 4"},
        ),
        "results/{experiment}/figures/table4_heatmap.pdf",
    log:
        "results/{experiment}/logs/figures/table4_heatmap.log",
    benchmark:
        "results/{experiment}/benchmarks/figures/table4_heatmap.tsv"
    conda:
        environment
    params:
        job=job("draw_table4_heatmap"),
    script:
        "../workflow_scripts/draw_table4_heatmap.py"


rule draw_label_ratios:
    input:
        table="results/{experiment}/tables/table2.csv",
        headline=plan.floor_of_ratios,
    output:
        report(
            "results/{experiment}/figures/label_ratios.png",
            caption="captions/label_ratios.rst",
            category="Figures",
            labels={"figure": "Table 2"},
        ),
        "results/{experiment}/figures/label_ratios.pdf",
    log:
        "results/{experiment}/logs/figures/label_ratios.log",
    benchmark:
        "results/{experiment}/benchmarks/figures/label_ratios.tsv"
    conda:
        environment
    params:
        job=job("draw_label_ratios"),
    script:
        "../workflow_scripts/draw_label_ratios.py"


rule draw_qualitative_panel:
    input:
        unpack(lambda wildcards: plan.inputs.evaluation_inputs(plan.runs.panel)),
        files=lambda wildcards: ancient(plan.inputs.evaluation_files(plan.runs.panel)),
        floor_features=lambda wildcards: plan.inputs.evaluation_inputs(
            plan.runs.panel_floor
        )["features"],
    output:
        report(
            "results/{experiment}/figures/qualitative.png",
            caption="captions/panel.rst",
            category="Figures",
            labels={"figure": "test episodes"},
        ),
        "results/{experiment}/figures/qualitative.pdf",
    log:
        "results/{experiment}/logs/figures/qualitative.log",
    benchmark:
        "results/{experiment}/benchmarks/figures/qualitative.tsv"
    conda:
        environment
    resources:
        batch_size=experiment.evaluation.batch_size,
    params:
        job=job("draw_qualitative_panel"),
    script:
        "../workflow_scripts/draw_qualitative_panel.py"


rule picture_episodes:
    input:
        unpack(lambda wildcards: plan.inputs.evaluation_inputs(plan.runs.panel)),
        weights_file=lambda wildcards: ancient(
            plan.paths.training_weights(plan.runs.panel.run)
        ),
        result=lambda wildcards: plan.paths.evaluation(plan.runs.panel),
        floor_features=lambda wildcards: plan.inputs.evaluation_inputs(
            plan.runs.panel_floor
        )["features"],
    output:
        "results/{experiment}/figures/episodes.json",
    log:
        "results/{experiment}/logs/figures/episodes.log",
    benchmark:
        "results/{experiment}/benchmarks/figures/episodes.tsv"
    conda:
        environment
    resources:
        batch_size=experiment.evaluation.batch_size,
    params:
        job=job("picture_episodes"),
    script:
        "../workflow_scripts/picture_episodes.py"


# It reads no file: the graph is a parameter.
rule draw_rule_graph:
    output:
        "results/{experiment}/figures/rules.svg",
    log:
        "results/{experiment}/logs/figures/rules.log",
    benchmark:
        "results/{experiment}/benchmarks/figures/rules.tsv"
    conda:
        environment
    params:
        code=code("workflow_scripts/draw_rule_graph.py"),
        graph=lambda wildcards: rule_graph(workflow, plan.paths.report),
    script:
        "../workflow_scripts/draw_rule_graph.py"


# One HTML page. Requests the indexes, too, so that a fresh clone computes its tables.
rule all_report:
    input:
        plan.indexes,
        plan.paths.report,


rule write_report:
    input:
        **plan.report_inputs,
    output:
        report(
            "results/{experiment}/report.html",
            caption="captions/report.rst",
            category="Report",
            labels={"figure": "one page"},
        ),
    log:
        "results/{experiment}/logs/figures/report.log",
    benchmark:
        "results/{experiment}/benchmarks/figures/report.tsv"
    conda:
        environment
    params:
        job=job("write_report"),
    script:
        "../workflow_scripts/write_report.py"
