"""How a page looks, as one style sheet: light and dark by the reader's setting, narrow and wide, on screen and paper.

Colours are variables, the pictures' too. Those that tell things apart are Okabe and Ito's (2008), which people with any
kind of colour vision can distinguish; where two lines share a colour, one is dashed.
"""

STYLE = """
:root{color-scheme:light dark;--paper:#fcfcfb;--raised:#fff;--ink:#1c2024;--soft:#5b646e;--faint:#e4e6e8;
--rule:#d3d7db;
--accent:#0b6aa6;--good:#1d7a4f;--bad:#b3430c;--badge-bad:#fbeee6;--badge-good:#e8f4ee;--heat:#0b6aa6;--hot:#fff;
--c-majority:#9aa3ab;--c-bag:#009e73;--c-frozen:#56a4d9;--c-tuned:#d55e00;
--c-untrained:#cc79a7;--c-ensemble:#b58900;
--c-1:#0072b2;--c-2:#d55e00;--c-3:#009e73;--c-4:#cc79a7;--c-5:#b58900;--c-6:#7d8791;--more:#d55e00;--less:#0072b2}
@media (prefers-color-scheme:dark){:root{--paper:#15181b;--raised:#1c2024;--ink:#e7e9eb;--soft:#a2abb4;
--faint:#2b3136;
--rule:#3a4148;--accent:#6cb8ea;--good:#5fc795;--bad:#f2915a;--badge-bad:#3a2618;--badge-good:#17301f;--heat:#6cb8ea;
--hot:#10202c;--c-majority:#7f8992;--c-bag:#2fbf94;--c-frozen:#7cc0ee;--c-tuned:#f08a3c;
--c-untrained:#e39bc4;--c-ensemble:#d9b13b;
--c-1:#58aee6;--c-2:#f08a3c;--c-3:#2fbf94;--c-4:#e39bc4;--c-5:#d9b13b;--c-6:#99a3ac;--more:#f08a3c;--less:#58aee6}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",
Roboto,"Noto Sans",
sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main,header,footer{max-width:1144px;margin:0 auto;padding:0 16px}
header{padding-top:36px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:1.25rem;line-height:1.25;margin:0 0 12px;padding-top:22px;border-top:1px solid var(--rule)}
section{margin-top:34px}
p{margin:0 0 10px;max-width:46rem}
.sub,.note,.how,figcaption,footer{color:var(--soft)}
.sub{font-size:.95rem;max-width:none}
nav{margin:14px 0 0;font-size:.9rem}
nav a{color:var(--accent);text-decoration:none;display:inline-block;padding:3px 14px 3px 0}
nav a:hover,nav a:focus{text-decoration:underline}
.lead{font-size:1.3rem;line-height:1.4;margin:0 0 8px;max-width:48rem;letter-spacing:-.005em}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:26px 32px;margin:18px 0;
align-items:start}
figure{margin:0;min-width:0;break-inside:avoid;max-width:440px}
figure h3{font-size:.98rem;margin:0 0 6px;font-weight:600}
.how{font-size:.86rem;line-height:1.45;margin:6px 0 0}
.picture{display:block;width:100%;height:auto;font-family:inherit}
.picture text,.names text{font-size:11px;fill:var(--ink)}
.picture .small{font-size:10px;fill:var(--soft)}
.picture .cell{font-size:11px}
.picture .hot{fill:var(--hot)}
.picture .axis{stroke:var(--soft);stroke-width:1}
.picture .grid{stroke:var(--faint);stroke-width:1}
.picture .guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.picture .mark{stroke:var(--ink);stroke-width:1;stroke-dasharray:4 3}
.picture .whisker{stroke:var(--ink);stroke-width:1.2}
.picture .box{fill:none;stroke:var(--rule)}
.picture .curve{fill:none;stroke-width:1.9;stroke-linejoin:round}
.picture .thin{fill:none;stroke-width:.9;stroke-opacity:.55;stroke-linejoin:round}
.scroll{overflow-x:auto;max-width:100%;margin:14px 0 4px}
table{border-collapse:collapse;font-size:.88rem;line-height:1.4}
th,td{padding:5px 14px 5px 0;text-align:right;vertical-align:top;border-bottom:1px solid var(--faint);
overflow-wrap:normal}
thead th{font-weight:600;color:var(--soft);border-bottom-color:var(--rule)}
tbody th{font-weight:400;min-width:6.2rem}
th:first-child,.words td,.words th{text-align:left}
.words td,.words th{overflow-wrap:anywhere;min-width:4.5rem}
tr.best td,tr.best th{font-weight:600}
.note{font-size:.86rem;margin:2px 0 12px}
details{margin:6px 0;font-size:.9rem}
summary{cursor:pointer;color:var(--accent)}
details.fold{margin:12px 0;border:1px solid var(--rule);border-radius:8px;background:var(--raised);padding:0 14px;
font-size:1rem}
details.fold>summary{padding:9px 0;font-weight:600;color:var(--ink)}
details.fold>summary::marker{color:var(--soft)}
details.fold>:last-child{margin-bottom:12px}
pre{background:var(--raised);border:1px solid var(--rule);border-radius:8px;padding:10px 14px;overflow-x:auto;
font-size:.85rem;
white-space:pre-wrap}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font-size:.88em;background:var(--faint);border-radius:4px;padding:1px 4px}
pre code{background:none;padding:0;font-size:1em}
ul{padding-left:1.1rem;margin:8px 0}
li{margin:2px 0}
.case{padding:10px 0;border-top:1px solid var(--faint)}
.case p{margin:0;overflow:hidden}
.case .said{font-size:.86rem;color:var(--soft);margin-bottom:3px}
.case b{font-weight:600;color:var(--ink)}
.case .wrong{color:var(--bad)}
.text{unicode-bidi:isolate;overflow:hidden}
.case .text+.text{margin-top:5px;padding-left:14px;border-left:2px solid var(--rule)}
bdi{overflow-wrap:anywhere}
.checks{list-style:none;padding:0;margin:14px 0;border-top:1px solid var(--faint)}
.checks li{display:grid;grid-template-columns:5.6rem 1fr;gap:2px 14px;padding:9px 0;
border-bottom:1px solid var(--faint);margin:0}
.badge{font-size:.78rem;font-weight:600;border-radius:20px;padding:1px 0;align-self:start;text-align:center;
margin-top:2px}
.found .badge{color:var(--bad);background:var(--badge-bad)}
.clear .badge{color:var(--good);background:var(--badge-good)}
.out .badge{color:var(--soft);background:var(--faint)}
.checks h3{font-size:.98rem;font-weight:600;margin:0}
.checks h3 span{font-weight:400;color:var(--soft);margin-left:8px;font-size:.9rem}
.checks p{margin:1px 0 0;font-size:.92rem;max-width:52rem}
.checks .advice{color:var(--soft)}
.clear p,.out p{color:var(--soft)}
.source{margin:10px 0 14px;border-left:3px solid var(--accent);padding:4px 0 4px 12px}
.source p{display:grid;grid-template-columns:8.2rem 1fr;gap:0 10px;max-width:none;margin:0;font-size:.86rem;
align-items:baseline}
.source span{color:var(--soft)}
.source code{background:none;padding:0;font-size:.82rem}
.pieces{list-style:none;display:flex;flex-wrap:wrap;gap:8px 6px;padding:0;margin:12px 0}
.pieces li{border:1px solid var(--rule);border-radius:6px;background:var(--raised);padding:3px 8px;margin:0;
text-align:center}
.pieces b{display:block;font-weight:600}
.pieces span{font-size:.78rem;color:var(--soft)}
.shaded{border:0;font-size:1.15rem}
.heads{display:grid;grid-template-columns:4.2rem 1fr;gap:8px 10px;margin:16px 0;align-items:start}
.heads p{margin:4px 0 0;font-size:.86rem;color:var(--soft)}
.heads div{display:grid;grid-template-columns:repeat(auto-fill,minmax(68px,1fr));gap:6px}
.heads a{display:block;border:1px solid var(--rule);max-width:110px}
.heads a:hover,.heads a:focus{border-color:var(--accent)}
.wide{grid-template-columns:repeat(auto-fill,minmax(min(100%,360px),1fr))}
.wide figure{max-width:none}
.wide .scroll{margin:0}
.wide .picture{max-width:none}
.cells{stroke:var(--heat);stroke-width:1;shape-rendering:crispEdges}
.heads>svg{position:absolute}
:target{outline:2px solid var(--accent);outline-offset:6px}
footer{font-size:.85rem;padding:40px 16px 50px}
@media (max-width:560px){.source p{grid-template-columns:1fr;margin-bottom:6px}
.heads{grid-template-columns:1fr;gap:2px}.heads div{grid-template-columns:repeat(6,1fr)}
.checks li{grid-template-columns:1fr}.badge{justify-self:start;padding:1px 12px}
.lead{font-size:1.15rem}header{padding-top:22px}}
@media print{:root{--paper:#fff;--raised:#fff;--ink:#000;--soft:#444}body{font-size:11px}nav{display:none}
.figures{grid-template-columns:repeat(2,1fr)}section{break-inside:auto}h2{break-after:avoid}details.fold{border:0;
padding:0}}
"""
