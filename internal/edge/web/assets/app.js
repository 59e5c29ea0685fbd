// Makes pages live: follows the stream that the page names and fetches the page again when something it shows changed.
(() => {
  let source, timer, busy = false, again = false;

  const page = () => document.getElementById("page");
  const light = (on) => document.documentElement.classList.toggle("live", on);

  function follow() {
    const url = page()?.dataset.live;
    const topics = url?.replace(/after=\d+&/, ""); // a stream that is open knows by itself how far it has come
    if (source && source.topics === topics) return;
    source?.close();
    source = undefined;
    light(false);
    if (!url) return;
    source = new EventSource(url);
    source.topics = topics;
    source.onopen = () => light(true);
    source.onerror = () => light(false);
    source.onmessage = () => { clearTimeout(timer); timer = setTimeout(refresh, 150); };
  }

  // What a reader has opened, typed or scrolled to outlives a refresh.
  async function refresh() {
    const typing = document.activeElement;
    if (busy || (typing && typing.closest("#page form") && typing.value)) { again = true; return; }
    busy = true;
    const open = [...document.querySelectorAll("#page details[open][id]")].map((d) => d.id);
    try {
      await htmx.ajax("GET", location.pathname + location.search, { target: "#page", select: "#page", swap: "outerHTML show:none" });
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    } finally {
      busy = false;
    }
    if (again) { again = false; timer = setTimeout(refresh, 300); }
  }
  document.addEventListener("focusout", () => { if (again) { again = false; timer = setTimeout(refresh, 300); } });

  // A log arrives piece by piece and stays where its reader has scrolled to.
  function logs() {
    for (const pre of document.querySelectorAll("pre[data-log]:not([data-on])")) {
      pre.dataset.on = "";
      const stream = new EventSource(pre.dataset.log);
      let got = 0;
      stream.onmessage = (m) => {
        const piece = JSON.parse(m.data);
        if (piece.at < got) return; // told before
        const end = pre.scrollTop + pre.clientHeight > pre.scrollHeight - 30;
        pre.append(piece.text);
        got = piece.next;
        if (end) pre.scrollTop = pre.scrollHeight;
      };
      stream.addEventListener("end", () => { stream.close(); pre.classList.add("ended"); });
    }
  }

  // Times are told as ages and kept up to date.
  function ages() {
    for (const t of document.querySelectorAll("time[datetime]")) {
      const s = Math.max(0, (Date.now() - Date.parse(t.dateTime)) / 1000);
      const [n, unit] = s < 90 ? [s, "s"] : s < 5400 ? [s / 60, "min"] : s < 129600 ? [s / 3600, "h"] : [s / 86400, "d"];
      t.textContent = `${Math.round(n)} ${unit} ago`;
      t.title = new Date(t.dateTime).toLocaleString();
    }
  }

  let poll;
  function settle() {
    follow(); logs(); ages();
    clearTimeout(poll);
    if (page()?.hasAttribute("data-poll")) poll = setTimeout(refresh, 2000);
  }
  document.addEventListener("DOMContentLoaded", settle);
  document.addEventListener("htmx:afterSettle", settle);
  setInterval(ages, 15000);
  addEventListener("pagehide", () => source?.close());
})();
