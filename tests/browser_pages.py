"""Names, strengths and images of the page that browser tests open."""

HOSTILE = {
    "script": "<script>window.hacked = true</script>",
    "attribute": "\"'><img src=x onerror='window.hacked = true'>",
    "right to left": "شخص‮ 🙂 {{ 7 * 7 }} ${8*8} `x`",
    "long": "long " + "name " * 59,
    "end": "</script><script>window.hacked = true</script>",
}
EPSILONS = [0.01, 0.05, 0.075, 0.1]
PICTURED, TESTED = 9, 15
OPEN_ALL = "document.querySelectorAll('details.fold').forEach(one => { one.open = true; })"
