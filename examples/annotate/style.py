"""How the annotated pages look: light and dark by the reader's setting; prose beside
code, or above it on a narrow screen.
"""

STYLE = """
:root{color-scheme:light dark;--paper:#fcfcfb;--raised:#f4f5f5;--ink:#1c2024;--soft:#5b646e;--rule:#d9dde0;
--accent:#0b6aa6;--keyword:#8a3ffc;--string:#1d7a4f;--comment:#6b747d;--defined:#b3430c}
@media (prefers-color-scheme:dark){:root{--paper:#15181b;--raised:#1c2024;--ink:#e2e5e8;--soft:#a2abb4;--rule:#333a41;
--accent:#6cb8ea;--keyword:#c39bff;--string:#7fd1a5;--comment:#8d97a1;--defined:#f2a06a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:20px}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif;overflow-wrap:anywhere}
header,main{max-width:1500px;margin:0 auto;padding:0 20px}
header{padding-top:26px}
main{padding-bottom:60px}
a{color:var(--accent);text-decoration:none}
a:hover,a:focus{text-decoration:underline}
nav{font-size:.9rem;margin-bottom:12px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 10px}
h2{font-size:1.2rem;line-height:1.3;margin:14px 0 6px}
h3{font-size:1rem;margin:0 0 4px}
h3 a{color:var(--ink)}
p{margin:0 0 9px;max-width:44rem}
ul{padding-left:1.1rem;margin:6px 0}
li{margin:3px 0}
.arrow{white-space:nowrap}
.sub{color:var(--soft)}
.intro{max-width:60rem;margin-bottom:26px}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font-size:.88em}
pre{font-size:.8rem;line-height:1.5;overflow-x:auto;margin:6px 0 10px;padding:8px 12px;background:var(--raised);
border-radius:6px;overflow-wrap:normal}
.row{display:grid;grid-template-columns:minmax(0,26rem) minmax(0,1fr);gap:0 26px;border-top:1px solid var(--rule)}
.prose{padding:10px 0;font-size:.95rem}
.prose pre{font-size:.76rem;padding:6px 8px}
.code pre{background:none;padding:10px 0;margin:0;border-radius:0;font-size:.78rem}
.line{display:block;min-height:1.5em}
.line i{display:inline-block;width:2.4rem;margin-right:.9rem;text-align:right;font-style:normal;color:var(--comment);
opacity:.6;user-select:none}
.line:target,.line:has(:target){background:color-mix(in srgb,var(--accent) 15%,transparent)}
.line a{color:inherit;text-decoration:underline dotted color-mix(in srgb,var(--accent) 70%,transparent);
text-underline-offset:3px}
.line a:hover,.line a:focus{color:var(--accent);text-decoration-style:solid}
.keyword{color:var(--keyword)}
.string{color:var(--string)}
.comment{color:var(--comment);font-style:italic}
.defined{color:var(--defined);font-weight:600}
.held{font-size:.82rem;color:var(--soft);border-left:2px solid var(--rule);padding-left:10px;margin:8px 0}
.held p,.held ul{margin:2px 0}
summary{cursor:pointer}
.contents{padding-left:2rem}
.contents p{margin:0;color:var(--soft)}
.test{margin:0 0 12px}
.test p{font-size:.88rem;margin:0;color:var(--soft)}
.test h3{font-weight:500}
:target{outline:0}
section:target h2,section:target h3{color:var(--defined)}
@media (max-width:900px){.row{grid-template-columns:minmax(0,1fr)}.code pre{padding-top:0}.prose{padding-bottom:4px}
.line i{width:1.9rem;margin-right:.6rem}header,main{padding-left:14px;padding-right:14px}}
"""
