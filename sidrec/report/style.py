"""How the page looks, in light and in dark."""

from sidrec.report.html import Html

_LIGHT = """
--paper:#f7f6f3;--card:#ffffff;--ink:#1c2126;--soft:#5a646e;--line:#dedbd4;--grid:#ebe8e2;
--good:#1d7f55;--bad:#b3362b;--lift:0 1px 2px #0000000d,0 2px 10px #0000000a;--l:46%;
--k0:#2463c4;--k1:#d26a12;--k2:#23875d;--k3:#8456c0;--k4:#c23a55;--k5:#12859a;--k6:#a07a10;
--k7:#c9558f;--k8:#687a1c;--k9:#80604a;--other:#b4bac0;
"""
_DARK = """
--paper:#121519;--card:#1a1e24;--ink:#e8eaed;--soft:#a3acb6;--line:#333a43;--grid:#272d35;
--good:#5ec997;--bad:#f28b80;--lift:none;--l:64%;
--k0:#76aaf7;--k1:#f3a05a;--k2:#5cc796;--k3:#b896f0;--k4:#f08197;--k5:#56c6d8;--k6:#dcb750;
--k7:#f09ac6;--k8:#b0c15c;--k9:#c6a48a;--other:#59626c;
"""
_RULES = """
*{box-sizing:border-box}
html{color-scheme:light dark;scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
header,main,footer{max-width:1060px;margin:0 auto;padding:0 16px}
header{padding-top:40px}
h1{font-size:2.1rem;line-height:1.15;letter-spacing:-.02em;margin:0 0 10px;overflow-wrap:anywhere}
h2{font-size:1.4rem;letter-spacing:-.01em;line-height:1.25;margin:0 0 6px}
h3{font-size:1.02rem;margin:22px 0 4px}
p{margin:6px 0 12px;max-width:74ch}
.lede{font-size:1.16rem;max-width:62ch}
.kicker,.soft,figcaption,caption,.note{color:var(--soft)}
.kicker{margin:0 0 4px;font-size:.9rem}
a{color:var(--k0)}
nav ul{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;padding:0;margin:18px 0 0;
font-size:.92rem}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;
box-shadow:var(--lift);padding:22px 24px;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(158px,1fr));gap:12px;
margin:20px 0 0;padding:0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:12px 16px;box-shadow:var(--lift)}
.tiles dt{color:var(--soft);font-size:.86rem}
.tiles dd{margin:0;font-size:1.55rem;line-height:1.3;font-variant-numeric:tabular-nums;
letter-spacing:-.01em}
.tiles dd small{display:block;color:var(--soft);font-size:.82rem;letter-spacing:0}
.good{color:var(--good)}.bad{color:var(--bad)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,390px),1fr));gap:10px 34px;
align-items:start}
.pair>*{min-width:0}
.columns{columns:390px 2;column-gap:34px}.columns>*{break-inside:avoid;padding-bottom:4px}
.columns h3{margin-top:14px}
figure{margin:14px 0 8px;max-width:460px}
figure.wide{max-width:720px;margin-left:auto;margin-right:auto}
figcaption{font-size:.88rem;line-height:1.45;margin-top:4px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.88rem;margin-bottom:4px}
.legend span{display:inline-flex;align-items:center;gap:5px}
.legend svg{width:15px;height:15px}
.legend i{width:12px;height:12px;border-radius:3px;display:inline-block}
.chart{display:block;width:100%;height:auto;overflow:visible}
.chart text{font-size:12.5px;fill:var(--soft);font-variant-numeric:tabular-nums}
.chart .strong{fill:var(--ink)}.chart .small{font-size:11px}.chart .value{fill:var(--ink)}
.chart .axis{font-size:12px}
line.grid{stroke:var(--grid)}
.zero{stroke:var(--soft);stroke-dasharray:4 3;fill:none}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke:var(--c)}
.dash1{stroke-dasharray:7 3}.dash2{stroke-dasharray:2 3}.dash3{stroke-dasharray:9 3 2 3}
.dash4{stroke-dasharray:4 2}.dash5{stroke-dasharray:1 2}
.range{stroke:var(--c);stroke-width:2.5;stroke-linecap:round;opacity:.55}
.mark{fill:var(--c);stroke:var(--card);stroke-width:1.2}
.mark.hollow{fill:var(--card);stroke:var(--c);stroke-width:2}
.mark:hover{stroke:var(--ink)}
.tree path,.legend i{fill:var(--c);background:var(--c)}
.tree path:hover{stroke:var(--ink);stroke-width:1.6}
.tree text{font-size:19px;fill:var(--ink)}
.map circle{fill:hsl(var(--h) var(--s) var(--l));fill-opacity:.82}
.map path{stroke:hsl(var(--h) var(--s) var(--l));stroke-width:3;stroke-linecap:round}
.map svg>g:not(.names):hover circle{r:5px;fill-opacity:1;stroke:var(--ink)}
.map svg:has(>g:not(.names):hover)>g:not(:hover){opacity:.13}
.map .names{pointer-events:none}
.map .names text{font-size:17px;font-weight:650;fill:var(--ink);stroke:var(--card);stroke-width:4px;
paint-order:stroke;stroke-linejoin:round}
.scroll{overflow-x:auto;margin:12px 0;max-width:100%}
.scroll:focus-visible,a:focus-visible,summary:focus-visible{outline:2px solid var(--k0);
outline-offset:2px}
table{border-collapse:collapse;font-size:.9rem;line-height:1.4;width:100%}
table.prose{min-width:560px}
caption{text-align:left;font-size:.88rem;padding-bottom:6px}
caption span{position:sticky;left:0;display:inline-block;max-width:min(74ch,calc(100vw - 54px))}
th,td{padding:5px 12px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
thead th{border-bottom:1px solid var(--line);color:var(--soft);font-weight:600}
tbody th{font-weight:600;white-space:nowrap}
td small{display:block;color:var(--soft);font-size:.82em}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
thead .n{white-space:normal}
th:last-child,td:last-child{padding-right:2px}
tr.us th,tr.us td{background:color-mix(in srgb,var(--k0) 8%,transparent)}
.range-text{color:var(--soft);font-size:.86em}
dl.facts{display:grid;grid-template-columns:minmax(96px,max-content) 1fr;gap:4px 18px;margin:8px 0;
font-size:.93rem}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0}
summary{cursor:pointer;color:var(--k0);padding:4px 0}
.users{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:14px;
margin:14px 0}
.users article{border:1px solid var(--line);border-radius:10px;padding:12px 14px;min-width:0}
.users h4{margin:0 0 4px;font-size:.95rem;overflow-wrap:anywhere}
.users p{margin:0 0 6px;font-size:.88rem;line-height:1.4}
.users ol{margin:6px 0 0;padding-left:1.6em;font-size:.9rem;line-height:1.42}
.users li{overflow-wrap:anywhere}
.users li.hit{font-weight:650}
.users code{color:var(--soft);font-size:.78rem;white-space:nowrap;font-weight:400}
.tag{font-size:.74rem;font-weight:650;border-radius:99px;padding:1px 8px;margin-left:4px;
border:1px solid currentColor;white-space:nowrap}
footer{color:var(--soft);font-size:.88rem;padding-bottom:48px}
@media(max-width:520px){header{padding-top:24px}h1{font-size:1.7rem}
header,main,footer{padding-left:12px;padding-right:12px}
section{padding:16px 12px;border-radius:10px}
.chart text{font-size:13.5px}.chart .axis,.chart .small{font-size:12px}
.map .names text,.tree text{font-size:28px}.lede{font-size:1.06rem}}
@media print{body{background:#fff}section{break-inside:avoid;box-shadow:none}nav{display:none}}
"""


def style() -> Html:
  """The content of the page's style element."""
  kinds = "".join(f".k{at}{{--c:var(--k{at})}}" for at in range(10)) + ".other{--c:var(--other)}"
  dark = f"@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
  return Html(f":root{{{_LIGHT}}}{dark}{kinds}{_RULES}".replace("\n", ""))
