"""The middle of a trace's page: embeddings, attention, and what each layer adds, from `trace.trace`'s record."""

from . import pictures
from .blocks import fold, paragraph, picture, source, table
from .trace_pictures import head_map, large_map, map_names, piece_name, strips

BY_HAND = 8  # numbers of a vector that stand under its picture: few enough to be added up by hand


def embedding_blocks(record):
    """Three vectors, their sum, and LayerNorm."""
    found, pieces = record["embeddings"], record["pieces"]
    names = list(found["vectors"])
    looked_up = names[: names.index("sum")]
    shown = piece_name(pieces[found["shown"]]["piece"], 24)
    *others, last = looked_up
    count = "Two" if len(looked_up) == 2 else "Three"
    blocks = [
        paragraph(f"{count} vectors are looked up for each piece, for its {', '.join(others)} and {last}, and "
                  "added."),
        source(record["lines"], "word", "token type"),
        paragraph("LayerNorm then takes away the mean of a vector's numbers, divides by their standard deviation, and "
                  "scales and shifts each number by amounts that were learned."),
        source(record["lines"], "embeddings norm"),
    ]  # fmt: skip
    vectors = [(name, found["vectors"][name]) for name in names]
    rows = [[name, *(f"{value:.4f}" for value in values[:BY_HAND])] for name, values in vectors]
    title = f"The first numbers of “{shown}”"
    how = (f"The first {len(vectors[0][1])} of {found['width']:,} numbers; orange is above 0, blue below. Over all of "
           f"them the sum has mean {found['mean']:.4f} and standard deviation {found['deviation']:.4f}.")  # fmt: skip
    first = ["", *(str(i + 1) for i in range(min(BY_HAND, found["width"])))]
    drawn = strips(title, "Rows of colours: what is looked up, the sum, and the sum normalised.", vectors)
    return [*blocks, picture(title, drawn, how, first, rows), embedding_sizes(record)]


def embedding_sizes(record):
    """How long the vectors are, piece by piece."""
    found, pieces = record["embeddings"], record["pieces"]
    numbers = list(range(1, len(pieces) + 1))
    series = [{"name": name, "colour": f"c-{i + 1}", "x": numbers, "y": values, "dots": len(pieces) < 30}
              for i, (name, values) in enumerate(found["sizes"].items()) if name != "normalised"]  # fmt: skip
    title = "How long the vectors are"
    rows = [[piece_name(one["piece"]), *(f"{sizes[i]:.3f}" for sizes in found["sizes"].values())]
            for i, one in enumerate(pieces)]  # fmt: skip
    return picture(
        title, pictures.lines(title, "Euclidean length of each vector, piece by piece.", series, "piece", "length"),
        "The Euclidean length of each piece's vectors. Where one is much longer than the other, it decides the sum's "
        "direction.", ["piece", *found["sizes"]], rows,
    )  # fmt: skip


def attention_blocks(record):
    """All heads small; each layer's large, behind a fold."""
    layers, pieces = record["layers"], [one["piece"] for one in record["pieces"]]
    if not layers:
        return []
    blocks = [
        paragraph("In each layer, each head decides for every piece from which pieces it takes. The piece's query is "
                  "compared with every key, and softmax turns the scores into weights that sum to 1. The head gathers "
                  "the pieces' values in these proportions."),
        source(record["lines"], "query", "key", "value", "scores", "softmax", "context", "attention output"),
        paragraph("Each row is a piece that takes, each column a piece that it takes from, in the order of the text. "
                  "The darker a cell, the larger the weight (its square root is drawn, so that small ones show). On a "
                  "dark diagonal, pieces take from themselves; a dark column is one piece from which all take, often a "
                  "special one. Each picture leads to a larger one with the pieces' names."),
        {"kind": "heads", "names": map_names(pieces), "layers": [
            [(f"layer {i}, head {j}", head_map(weights, f"layer {i}, head {j}"))
             for j, weights in enumerate(layer["attention"], 1)]
            for i, layer in enumerate(layers, 1)
        ]},
    ]  # fmt: skip
    for i, layer in enumerate(layers, 1):
        names = [f"layer {i}, head {j}" for j in range(1, record["head_count"] + 1)]
        large = {"kind": "large", "pictures": [(name, large_map(name, pieces)) for name in names]}
        blocks.append(fold(f"Layer {i}, with the pieces' names", [large, looks_most_at(layer, pieces)]))
    return blocks + [paragraph(
        "Attention says where a head looks, not what decides: other weights can give the same answer (Jain and Wallace "
        "2019, arXiv 1902.10186)."
    )]  # fmt: skip


def looks_most_at(layer, pieces):
    """For each piece and head, the piece from which most is taken."""
    rows = []
    for i, piece in enumerate(pieces):
        cells = []
        for weights in layer["attention"]:
            most = max(range(len(pieces)), key=lambda column: weights[i][column])
            cells.append(f"{piece_name(pieces[most], 8)} {weights[i][most]:.2f}")
        rows.append([piece_name(piece), *cells])
    head = ["piece", *(f"head {j}" for j in range(1, len(layer["attention"]) + 1))]
    return table(head, rows, "For each piece and head: the piece from which it takes most, and its weight.")


def layer_blocks(record):
    """The residual stream: what attention and feed-forward add to it, and how long it is after each layer."""
    layers = record["layers"]
    if not layers:
        return []
    means = [{name: mean(values) for name, values in layer.items() if name != "attention"} for layer in layers]
    blocks = [
        paragraph("A piece's vector goes up through the layers as one stream. Attention adds to it what it gathered, "
                  "and LayerNorm follows; then feed-forward adds what it makes of this one vector alone, and LayerNorm "
                  "follows again."),
        source(record["lines"], "layer", "attention", "attention norm", "feed-forward", "feed-forward norm"),
    ]  # fmt: skip
    return [*blocks, share_picture(means), size_picture(record, means), stream_picture(record), addition_table(means)]


def mean(values):
    return sum(values) / len(values)


def share_of(added, before):
    """Of the two lengths that are added, how much is that of what comes new."""
    return added / (added + before)


def share_picture(means):
    names = [f"layer {i}" for i in range(1, len(means) + 1)]
    shares = {
        "attention": [share_of(one["attention_adds"], one["enters"]) for one in means],
        "feed-forward": [share_of(one["feed_forward_adds"], one["middle"]) for one in means],
    }
    series = [{"name": name, "colour": f"c-{i + 1}", "values": values}
              for i, (name, values) in enumerate(shares.items())]  # fmt: skip
    title = "How much is added"
    rows = [[name, *(f"{values[i]:.3f}" for values in shares.values())] for i, name in enumerate(names)]
    return picture(
        title, pictures.bars(title, "Shares of attention and feed-forward by layer.", names, series, 1, "{:.2f}"),
        "The length of what is added, as a share of this length and that of the vector to which it is added: 0 adds "
        "nothing, 0.5 adds as much as was there.", ["", *shares], rows,
    )  # fmt: skip


def size_picture(record, means):
    numbers = list(range(len(means) + 1))
    first = piece_name(record["pieces"][0]["piece"])
    every = [means[0]["enters"], *(one["leaves"] for one in means)]
    of_first = [record["layers"][0]["enters"][0], *(layer["leaves"][0] for layer in record["layers"])]
    series = [{"name": "mean of all pieces", "colour": "c-1", "x": numbers, "y": every, "dots": True},
              {"name": first, "colour": "c-2", "x": numbers, "y": of_first, "dots": True, "dashed": True}]  # fmt: skip
    title = "How long the vectors are, layer by layer"
    rows = [[str(i), f"{every[i]:.3f}", f"{of_first[i]:.3f}"] for i in numbers]
    return picture(
        title, pictures.lines(title, "Euclidean length after each layer; 0 is after the embeddings.", series, "layer",
                              "length"),
        "After each layer; layer 0 is what the embeddings give. LayerNorm makes every vector equally long, and then "
        "its learned scale, which differs from number to number, stretches some directions more than others.",
        ["layer", "mean", first], rows,
    )  # fmt: skip


def stream_picture(record):
    first = piece_name(record["pieces"][0]["piece"])
    rows = [(f"layer {i}", values) for i, values in enumerate(record["stream"])]
    title = f"The first numbers of “{first}”, layer by layer"
    return picture(
        title, strips(title, "Rows of colours: the first piece's vector after each layer.", rows),
        f"The first {len(rows[0][1])} of {record['width']:,} numbers. A colour that runs down is passed on from layer "
        "to layer; where it changes, a layer wrote over it.",
        ["", *(str(i + 1) for i in range(min(BY_HAND, record["width"])))],
        [[name, *(f"{value:.4f}" for value in values[:BY_HAND])] for name, values in rows],
    )  # fmt: skip


def addition_table(means):
    head = ["layer", "enters", "attention adds", "share", "cosine", "after LayerNorm", "feed-forward adds", "share",
            "cosine", "leaves"]  # fmt: skip
    rows = []
    for i, one in enumerate(means, 1):
        shares = share_of(one["attention_adds"], one["enters"]), share_of(one["feed_forward_adds"], one["middle"])
        rows.append([
            str(i), f"{one['enters']:.3f}", f"{one['attention_adds']:.3f}", f"{shares[0]:.3f}",
            f"{one['attention_cosine']:+.3f}", f"{one['middle']:.3f}", f"{one['feed_forward_adds']:.3f}",
            f"{shares[1]:.3f}", f"{one['feed_forward_cosine']:+.3f}", f"{one['leaves']:.3f}",
        ])  # fmt: skip
    note = ("Lengths are means over the pieces. A cosine above 0: what is added points where the vector points "
            "already; below 0: it takes something back.")  # fmt: skip
    return table(head, rows, note)
