"use strict";
// The rating page. With a server, the server keeps the events and undoes the order. An exported page keeps its events itself.
(() => {
  const find = id => document.getElementById(id);
  const data = JSON.parse(find("data").textContent);
  const exported = data.export !== "";

  // ---- the order of the answers on an exported page: the same numbers as `preflab.rating.order`
  const mix = text => {
    let value = 0x811c9dc5;
    for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193);
    value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
    value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
    return (value ^ (value >>> 16)) >>> 0;
  };
  const isSwapped = (pair, rater) => (mix(`${rater}\n${pair}`) & 1) === 1;

  // ---- where events are kept
  const ask = async (place, options) => {
    let reply;
    try {
      reply = await fetch(place, options);
    } catch {
      throw new Error("The program that serves this page does not answer. Start it again, then try again.");
    }
    const body = await reply.json().catch(() => ({fault: `The program that serves this page failed (status ${reply.status}).`}));
    if (!reply.ok) throw new Error(body.fault);
    return body;
  };
  const served = {
    open: rater => ask(`session?rater=${encodeURIComponent(rater)}`),
    add: event => ask("events", {
      method: "POST", headers: {"Content-Type": "application/json"},
      body: JSON.stringify({
        rater: state.rater, number: state.events.length, pair: event.pair, choice: event.choice, seconds: event.seconds,
      }),
    }),
  };
  const own = {
    place: rater => `preflab ${data.export} ${rater}`,
    open: async name => {
      const rater = name.normalize("NFC").split(/\s+/).filter(Boolean).join(" ");
      if (rater === "") throw new Error("The name is empty. Give a name.");
      let events = [];
      try {
        events = JSON.parse(localStorage.getItem(own.place(rater)) || "[]");
      } catch {
        say("This browser keeps nothing for this page: download your labels before you close the page.");
      }
      const pairs = data.pairs.map(pair => {
        const swapped = isSwapped(pair.id, rater);
        return {...pair, swapped, answers: swapped ? [...pair.answers].reverse() : pair.answers};
      });
      return {rater, pairs, events};
    },
    add: async event => {
      try {
        localStorage.setItem(own.place(state.rater), JSON.stringify([...state.events, event]));
      } catch {
        say("This browser keeps nothing for this page: download your labels before you close the page.");
      }
    },
  };
  const keeper = exported ? own : served;

  // ---- what the rater has done
  const state = {rater: "", pairs: [], events: [], shown: null, busy: false, saved: true, since: 0, looked: 0};
  const live = () => {
    const stack = [];
    for (const event of state.events) event.choice === "undo" ? stack.pop() : stack.push(event);
    return stack;
  };
  const next = () => { // the pair without a label that was skipped least often
    const done = new Set(), skips = new Map();
    for (const event of live()) {
      if (event.choice === "skip") skips.set(event.pair, (skips.get(event.pair) || 0) + 1);
      else done.add(event.pair);
    }
    const open = state.pairs.filter(pair => !done.has(pair.id));
    const least = Math.min(...open.map(pair => skips.get(pair.id) || 0));
    return [open.find(pair => (skips.get(pair.id) || 0) === least) || null, done.size];
  };

  // ---- how long the rater looks at a pair: only while the page is visible
  const pause = () => { if (state.since) state.looked += performance.now() - state.since; state.since = 0; };
  const resume = () => { if (!document.hidden) state.since = performance.now(); };
  document.addEventListener("visibilitychange", () => document.hidden ? pause() : resume());

  // ---- what the page shows; every text is set as text, never as HTML
  const say = words => { find("notice").textContent = words; find("notice").hidden = words === ""; };
  const put = (node, text) => {
    node.textContent = text === "" ? "(an empty answer)" : text;
    node.classList.toggle("empty", text === "");
  };
  const NAMES = {system: "System", user: "User", assistant: "Assistant"};
  const makeTurn = ([role, text]) => {
    const turn = document.createElement("div"), title = document.createElement("h2"), body = document.createElement("div");
    turn.className = `turn ${role}`;
    title.textContent = NAMES[role] || role;
    body.className = "text";
    body.dir = "auto";
    body.textContent = text;
    turn.append(title, body);
    return turn;
  };
  const show = () => {
    const [pair, count] = next();
    state.shown = pair;
    find("bar").max = state.pairs.length;
    find("bar").value = count;
    find("progress").textContent = `${count} of ${state.pairs.length} pairs, ${state.rater}`;
    for (const id of ["dialogue", "question", "answers"]) find(id).hidden = pair === null;
    find("done").hidden = pair !== null;
    for (const button of document.querySelectorAll("[data-choice]")) {
      button.disabled = button.dataset.choice === "undo" ? live().length === 0 : pair === null;
    }
    if (pair !== null) {
      find("dialogue").replaceChildren(...pair.prompt.map(makeTurn));
      put(find("left"), pair.answers[0]);
      put(find("right"), pair.answers[1]);
    }
    state.looked = 0;
    state.since = 0;
    resume();
    scrollTo(0, 0);
  };

  const choose = async choice => {
    const last = live().at(-1);
    const pair = choice === "undo" ? last && last.pair : state.shown && state.shown.id;
    if (state.busy || !pair) return;
    state.busy = true;
    pause();
    const seconds = Math.round(state.looked) / 1000;
    const event = {pair, choice, seconds, at: new Date().toISOString()};
    if (exported) event.swapped = isSwapped(pair, state.rater);
    say("");
    try {
      await keeper.add(event);
      state.events.push(event);
      state.saved = false;
      show();
    } catch (error) {
      say(`Not saved. ${error.message}`);
      resume();
    }
    state.busy = false;
  };

  const KEYS = {
    ArrowLeft: "left", "1": "left", ArrowRight: "right", "2": "right", t: "tie", "0": "tie", u: "undo", s: "skip",
  };
  document.addEventListener("keydown", event => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (find("task").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, key)) return;
    event.preventDefault();
    choose(KEYS[key]);
  });
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => choose(button.dataset.choice));
  }

  find("form").addEventListener("submit", async event => {
    event.preventDefault();
    try {
      Object.assign(state, await keeper.open(find("name").value));
    } catch (error) {
      find("start").prepend(find("notice"));
      say(error.message);
      return;
    }
    document.querySelector("footer").prepend(find("notice"));
    find("start").hidden = true;
    find("task").hidden = false;
    find("download").hidden = !exported;
    find("question").textContent = data.question;
    find("farewell").textContent = exported
      ? "Download your labels, and send the file to the person who gave you this page."
      : "Your labels are saved. You can close this page.";
    show();
    find("question").focus({preventScroll: true});
  });

  // ---- an exported page gives its labels as a file
  find("download").addEventListener("click", () => {
    const sent = {kind: "preflab labels", export: data.export, rater: state.rater, events: state.events};
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(sent)], {type: "application/json"}));
    link.download = `labels-${state.rater.replace(/[^\p{L}\p{N}_-]+/gu, "-")}.json`;
    link.click();
    state.saved = true;
  });
  addEventListener("beforeunload", event => { if (exported && !state.saved) event.preventDefault(); });

  find("name").value = data.rater;
})();
