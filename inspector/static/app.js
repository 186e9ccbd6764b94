// Comfort only: everything here also works without it, by links and plain forms.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
  const $ = (selector) => document.querySelector(selector);
  const say = (text) => { const live = $("#live"); if (live) live.textContent = text; };

  // Times in the reader's zone; the server's UTC stays as the tooltip.
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.getTime())) { time.title = time.textContent; time.textContent = format.format(moment); }
  }

  // Filters apply when a choice is made.
  for (const select of document.querySelectorAll("select[data-auto]")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
  // Empty fields need not stand in the address.
  for (const form of document.querySelectorAll("form.filters")) {
    form.addEventListener("submit", () => { for (const f of form.elements) if (f.name && !f.value) f.disabled = true; });
  }
  addEventListener("pageshow", () => {
    for (const f of document.querySelectorAll("form.filters :disabled")) f.disabled = false;
    for (const f of document.querySelectorAll("form[data-sent]")) delete f.dataset.sent;
  });
  // A form that is on its way is not sent twice (the server would store it once anyway).
  for (const form of document.querySelectorAll('form[method="post"]')) {
    form.addEventListener("submit", (event) => { if (form.dataset.sent) event.preventDefault(); else form.dataset.sent = "1"; });
  }

  // Keyboard. Off while typing, with a modifier, or when switched off in the help.
  const help = $("#help");
  const box = $("#keys-on");
  const stored = (() => { try { return localStorage.getItem("keys"); } catch { return null; } })();
  if (box) {
    box.checked = stored !== "off";
    box.addEventListener("change", () => { try { localStorage.setItem("keys", box.checked ? "on" : "off"); } catch { /* private mode */ } });
  }
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => $("#" + button.dataset.open)?.showModal());
  }
  const rows = [...document.querySelectorAll("[data-row] .open")];
  const typing = (element) => element.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
  const press = (element) => {
    if (element.matches("input, textarea")) { element.focus(); element.select?.(); return; }
    if (element.matches("summary")) {
      const details = element.parentElement;
      if (details.open && details.classList.contains("reject")) { details.querySelector("button[value=reject]")?.click(); return; }
      details.open = true;
      details.querySelector("input, textarea")?.focus();
      details.scrollIntoView({ block: "nearest" });
      return;
    }
    element.click();
  };
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(event.target) || help?.open) return;
    if (event.key === "?") { event.preventDefault(); help?.showModal(); return; }
    if (box && !box.checked) return;
    if (rows.length && (event.key === "j" || event.key === "k")) {
      const at = rows.indexOf(document.activeElement);
      const to = rows[Math.max(0, Math.min(rows.length - 1, at + (event.key === "j" ? 1 : -1)))];
      event.preventDefault(); to.focus(); to.closest("[data-row]").scrollIntoView({ block: "nearest" });
      return;
    }
    const reject = $("#reject");
    if (reject?.open && /^[0-9]$/.test(event.key)) {
      const tick = reject.querySelector(`[data-digit="${event.key}"]`);
      if (tick) { event.preventDefault(); tick.checked = !tick.checked; tick.focus(); }
      return;
    }
    const target = [...document.querySelectorAll("[data-key]")].find((element) => element.dataset.key === event.key);
    if (target) { event.preventDefault(); press(target); }
  });

  // Source sentences also show on hover, beside their number.
  for (const ref of document.querySelectorAll(".ref")) {
    const pop = document.getElementById(ref.getAttribute("popovertarget"));
    if (!pop?.showPopover) continue;
    pop.addEventListener("toggle", (event) => {
      if (event.newState !== "open") return;
      const at = ref.getBoundingClientRect();
      pop.style.position = "fixed"; pop.style.margin = "0";
      pop.style.left = Math.max(8, Math.min(at.left, innerWidth - pop.offsetWidth - 8)) + "px";
      const below = at.bottom + 8;
      pop.style.top = (below + pop.offsetHeight < innerHeight ? below : Math.max(8, at.top - pop.offsetHeight - 8)) + "px";
    });
    let timer = 0;
    const close = () => { timer = setTimeout(() => { if (pop.dataset.hover) { delete pop.dataset.hover; pop.hidePopover(); } }, 200); };
    // A tap or click keeps open what hovering has opened, instead of closing it.
    ref.addEventListener("click", (event) => { if (pop.dataset.hover) { event.preventDefault(); delete pop.dataset.hover; } });
    ref.addEventListener("mouseenter", () => { clearTimeout(timer); if (!pop.matches(":popover-open")) { pop.dataset.hover = "1"; pop.showPopover(); } });
    ref.addEventListener("mouseleave", close);
    pop.addEventListener("mouseenter", () => clearTimeout(timer));
    pop.addEventListener("mouseleave", close);
  }

  // Editing: count as you type; when you pause, the "Check and score" button's own answer replaces the right-hand side.
  const form = $("#edit-form");
  if (form) {
    const area = $("#text"), count = $("#count"), drafted = $("#draft-state");
    const graphemes = (text) => {
      const plain = text.normalize("NFC").replace(/(?:https?:\/\/|www\.)[^\s<>"']+/gi, "x");
      return Intl.Segmenter ? [...new Intl.Segmenter().segment(plain)].length : [...plain].length;
    };
    const show = (n) => { count.textContent = n; count.parentElement.classList.toggle("over", n > 280); };
    let timer = 0, round = 0, shown = null;
    const check = async () => {
      const mine = ++round, text = area.value;
      if (!text.trim() || text === shown) return;
      $("#assess-state").textContent = "The jury reads…"; $("#assessment").classList.add("busy");
      const fields = new FormData(form);
      fields.set("action", "check");
      let page = null;
      try {
        const response = await fetch(form.getAttribute("action"), { method: "POST", credentials: "same-origin", body: new URLSearchParams(fields) });
        page = new DOMParser().parseFromString(await response.text(), "text/html");
      } catch { /* said below */ }
      if (mine !== round) return;
      const fresh = page?.querySelector("#assessment");
      $("#assessment").classList.remove("busy");
      if (!fresh) { $("#assess-state").textContent = "The server did not answer; your text is still here."; return; }
      shown = text;
      $("#assessment").replaceWith(document.adoptNode(fresh));
      $("#changes").replaceWith(document.adoptNode(page.querySelector("#changes")));
      const length = page.querySelector("#count")?.textContent;
      if (/^[0-9]+$/.test(length ?? "")) show(Number(length));
      drafted.textContent = "Kept as your draft.";
      say("Score " + ($("#new-score")?.textContent ?? "not available") + ". " + ($("#assessment .checks .bad") ? "A check fails." : ""));
    };
    show(graphemes(area.value));
    area.addEventListener("input", () => {
      show(graphemes(area.value)); drafted.textContent = "";
      clearTimeout(timer); timer = setTimeout(check, 500);
    });
    form.addEventListener("submit", () => { clearTimeout(timer); round++; });
  }
})();
