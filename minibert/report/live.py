"""The page of `predict --serve`: a form, and the answers of each classifier side by side, with the words that decided.

No script, as in the run's page: the form is sent, and the next page holds the answers. The form carries along the text
before it, so that an edited text stands beside what it was.
"""

import math

from .legible import clean, cut
from .page import escape, inline
from .style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
MORE_STYLE = """
form{margin:22px 0 0;max-width:46rem}
label{display:block;font-size:.9rem;color:var(--soft);margin:10px 0 3px}
textarea,select,button{font:inherit;color:inherit;background:var(--raised);border:1px solid var(--rule);
border-radius:8px;padding:8px 12px}
textarea{width:100%;min-height:7.5rem;resize:vertical}
select,button{height:2.7rem}
select{max-width:100%}
textarea:focus,select:focus,button:focus{outline:2px solid var(--accent);outline-offset:1px}
.row{display:flex;flex-wrap:wrap;gap:10px 14px;align-items:end;margin-top:12px}
.row label{margin-top:0}
button{background:var(--accent);border-color:var(--accent);color:var(--paper);font-weight:600;cursor:pointer;
padding:8px 20px}
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:26px 40px;margin-top:26px}
.answers section{margin:0;min-width:0}
.answers h2{border-top:1px solid var(--rule);padding-top:14px}
.says{font-size:1.3rem;margin:0 0 10px}
.bars{width:100%;table-layout:fixed}
.bars th{width:30%;overflow:hidden}
.bars td{white-space:nowrap;padding-right:10px;vertical-align:middle}
.bar{display:block;height:9px;border-radius:2px;background:var(--accent);min-width:1px}
.bars .number{width:4.1rem}.bars .change{width:5rem;color:var(--soft);padding-right:0}
.before{font-size:.92rem;line-height:1.65;color:var(--soft);margin:10px 0 6px;padding-left:12px;
border-left:2px solid var(--rule)}
.text{font-size:1.06rem;line-height:1.75;margin:14px 0 6px}
.before .text{font-size:.95rem;margin:2px 0}
.text span{border-radius:3px;padding:1px 0}
.problem{color:var(--bad);font-weight:600}
.key{margin-top:22px}
.key span{padding:0 6px;border-radius:3px}
"""
FEW = 8  # labels shown
LONGEST_WORD = 60
UNREAD = 160  # characters shown of what was not read


def render(labels, reads_pairs, asked=None, answers=(), before=None, problem=""):
    """The whole page.

    asked: {"text", "pair", "label"} as typed; answers: [{"name", "label", "scores": {label: probability},
    "explanation": `explain.explain`'s record}], one for each classifier; before: {"asked", "answers"} of the text
    before, or None; problem: why there are no answers.
    """
    asked = asked or {"text": "", "pair": "", "label": ""}
    olds = old_answers(answers, before)
    sides = "".join(
        render_answer(answer, asked, old and before["asked"], old) for answer, old in zip(answers, olds, strict=True)
    )
    parts = [render_form(labels, reads_pairs, asked, bool(answers))]
    if problem:
        parts.append(f'<p class="problem" role="alert">{escape(problem)}</p>')
    if sides:
        parts.append(f'<div class="answers">{sides}</div>{key()}')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>minibert: try a text</title><style>{STYLE.strip()}{MORE_STYLE.strip()}</style></head>\n"
        '<body><header><h1>Try a text</h1><p class="sub">Its label, and the words that decided. Change a word and ask '
        f"again.</p></header>\n<main>{''.join(parts)}</main>\n"
        '<footer>The same as JSON: <code>POST /api/predict</code> with <code>{"text": "..."}</code>.</footer>'
        "</body></html>\n"
    )


def render_form(labels, reads_pairs, asked, answered):
    hidden = ""
    if answered:  # the next page compares with this text
        hidden = f'<input type="hidden" name="before" value="{escape(asked["text"])}">'
        hidden += f'<input type="hidden" name="before_pair" value="{escape(asked["pair"])}">' if reads_pairs else ""
    pair = ""
    if reads_pairs:
        pair = ('<label for="pair">Second text</label><textarea id="pair" name="pair" dir="auto" required>'
                f"\n{escape(asked['pair'])}</textarea>")  # fmt: skip
    options = "".join(
        f'<option value="{escape(name)}"{" selected" if name == asked["label"] else ""}>{escape(cut(clean(name), 60))}'
        "</option>"
        for name in labels
    )
    return (
        f'<form method="post" action="/" accept-charset="utf-8">{hidden}<label for="text">Text</label>'
        f'<textarea id="text" name="text" dir="auto" required autofocus>\n{escape(asked["text"])}</textarea>{pair}'
        '<div class="row"><div><label for="label">Explain</label><select id="label" name="label">'
        f'<option value="">each one\'s own answer</option>{options}</select></div>'
        "<button>Classify</button></div></form>"
    )


def old_answers(answers, before):
    """Each classifier's answer to the text before, or None."""
    found = {answer["name"]: answer for answer in before["answers"]} if before else {}
    return [found.get(answer["name"]) for answer in answers]


def render_answer(answer, asked, old_asked, old):
    """One classifier's answer, and what changed since the text before, if there was one."""
    record = answer["explanation"]
    care = "" if record["error"] < 0.01 else " Read them with care."
    error = "0.01" if record["error"] < 1e-4 else f"{100 * record['error']:.2f}"
    before = ""
    if old:
        said = inline(cut(clean(old["label"]), 60))
        before = f'<div class="before">Before: <b>{said}</b>{render_texts(old["explanation"], old_asked)}</div>'
    return (
        f"<section><h2>{escape(answer['name'])}</h2>"
        f'<p class="says"><b>{inline(cut(clean(answer["label"]), 60))}</b></p>'
        f"{render_scores(answer['scores'], old and old['scores'])}{render_texts(record, asked)}"
        f'<p class="note">Shaded for {inline(cut(clean(record["label"]), 60))}: logit {record["logit"]:+.2f}, and '
        f"{record['baseline_logit']:+.2f} with {escape(record['padding'])} for every word. The words' shares add up to "
        "the difference within "
        f"{error}% ({record['steps']} steps).{care}</p>{before}</section>"
    )


def render_scores(scores, old):
    """The most probable labels, each with a bar, and with the change in points since the text before."""
    shown = sorted(scores, key=lambda label: -scores[label])[:FEW]
    rows = []
    for label in shown:
        change = f'<td class="change">{100 * (scores[label] - old[label]):+.1f}</td>' if old else ""
        rows.append(
            f'<tr><th scope="row">{inline(cut(clean(label), 60))}</th>'
            f'<td><span class="bar" style="width:{100 * scores[label]:.1f}%"></span></td>'
            f'<td class="number">{100 * scores[label]:.1f}%</td>{change}</tr>'
        )
    head = ""
    if old:
        head = ('<thead><tr><th scope="col">label</th><td></td><th scope="col" class="number">now</th>'
                '<th scope="col" class="change">change</th></tr></thead>')  # fmt: skip
    more = f'<p class="note">and {len(scores) - FEW} other labels</p>' if len(scores) > FEW else ""
    return f'<div class="scroll"><table class="bars">{head}<tbody>{"".join(rows)}</tbody></table></div>{more}'


def render_texts(record, asked):
    """The text, and its pair, with their words shaded."""
    words = record["words"] + (record["pair_words"] or [])
    most = max((abs(word[1]) for word in words), default=0)
    texts = [(asked["text"], record["words"])]
    texts += [] if record["pair_words"] is None else [(asked["pair"], record["pair_words"])]
    return "".join(f'<p class="text" dir="auto">{shaded(text, words, most)}</p>' for text, words in texts)


def key():
    colours = "".join(
        f'<span style="background:{background(sign, 0.7)}">{what}</span> '
        for sign, what in ((1, "speaks for the label"), (-1, "speaks against it"))
    )
    return f'<p class="note key">{colours}</p>'


def background(share, strength):
    """The colour of a word: its sign's, the stronger the larger its share of the largest one."""
    colour = "more" if share > 0 else "less"
    return f"color-mix(in srgb,var(--{colour}) {round(60 * math.sqrt(strength))}%,transparent)"


def shaded(text, words, most):
    """The text as typed, its words shaded by their shares ([word, share, start, end]); what was not read is cut."""
    parts, place = [], 0
    for word, share, start, end in words:
        parts.append(unshaded(text[place:start]))
        shown = escape(cut(clean(word), LONGEST_WORD))
        strength = abs(share) / most if most else 0
        if strength >= 0.05:
            shown = f'<span style="background:{background(share, strength)}" title="{share:+.2f}">{shown}</span>'
        parts.append(shown)
        place = end
    parts.append(unshaded(text[place:]))
    return "".join(parts)


def unshaded(gap):
    """What stands between words: white space, or words that were not read."""
    if not gap.strip():
        return " " if gap else ""
    return f' <s title="not read">{escape(cut(clean(gap[: 4 * UNREAD]), UNREAD))}</s> '
