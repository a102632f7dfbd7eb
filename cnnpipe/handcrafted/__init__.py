"""The handcrafted stage: are designed features brittle, domain-specific, and less general?

    descriptors.py  the designed features: edges (Sobel, Canny), HOG, SIFT as visual words
    corruptions.py  how test images are corrupted, and how severity is counted
    methods.py      a feature with a linear classifier on it; a network as the same pair
    robustness.py   the measurements: accuracy by corruption and severity, on other data, and time
    draws.py        what is judged: LeNet-5 and two rivals over independent draws
    experiment.py   all of it, from a data set and trained models to a finding
    other_data.py   the data sets that features are carried over to
    views.py        one image as each feature sees it, to be drawn
    verdict.py      the claim, and what follows from the numbers
    results.py      the finding as reports/handcrafted.json holds it
    figures/        the figures of robustness, corruptions and views

The stage writes reports/handcrafted.json:

    claim, verdict, statement, number, unit, interval, uncertainty, question, data, limits, figure,
    tables          as every claim of the theory has them (`cnnpipe.findings.finding`)
    details.comparisons
                    list of {question, network, handcrafted, network_accuracy,
                    handcrafted_accuracy, gap, interval, answer}: the verdict follows from the
                    answers
    details.corruptions
                    {corruption: {rival: gap}}: network less hand-crafted, mean over draws
    details.*       sizes (training, copies, test, …), data sets that were not there
    figures         list of {name, file, caption}; files are relative to reports/figures

where a method is pixels, sobel, canny, hog, sift, lenet5 or vgg, and its training is plain,
augmented, or pipeline (the models that this pipeline trained, which saw all training images). All
accuracies are fractions. The tables behind the figures are
reports/handcrafted/{robustness,methods,transfer,draws}.csv; times, which differ from run to run,
are in reports/handcrafted_timings.json: {methods: [{method, training, train_seconds (not for
pipeline's), milliseconds_per_image}], device, processor, threads, …}.
"""
