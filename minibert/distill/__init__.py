"""A smaller model from a bigger one: `python -m minibert.distill TEACHER TEXT --output FOLDER`.

A small model that is trained on labels alone has little to learn from: one answer for each text. A student that watches
a bigger model at work is shown, for every token of every text, what the teacher makes of it, and needs no labels. The
student is a DistilBERT. It starts as a part of its teacher, as DistilBERT itself did (Sanh et al. 2019, arXiv
1910.01108): some of the layers, the feed-forward neurons that do most, and the word pieces that its texts need. Then it
learns to match up to three things, which `--losses` names:

    hidden      hidden states: each student layer's against those of the teacher's layer that it stands for
                (Jiao et al. 2020, TinyBERT, arXiv 1909.10351, eq. 8)
    relations   which tokens resemble which, by the query, key and value vectors of the last layer
                (Wang et al. 2021, MiniLMv2, arXiv 2012.15828, eq. 1 and 2)
    logits      class probabilities, softened, when the teacher is a classifier
                (Hinton et al. 2015, arXiv 1503.02531, section 2)

The files, in reading order:

    vocabulary.py   which word pieces stay, and a tokenizer that knows only those
    student.py      the smaller model, made of parts of the bigger one
    losses.py       the three things above, as numbers
    texts.py        what teacher and student read
    loop.py         both models on the same batches, in the loop of `train.py`
    run.py          the whole job, from the command's options to the files of the student
    __main__.py     the command line

`weights/minibert-tiny` was made by this command; `weights/README.md` tells how.
"""

LOSSES = ("hidden", "relations", "logits")
