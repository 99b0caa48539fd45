// A clock, sockets and a screen of the test's own, and the library that speaks through them.

import { Hub } from "../../clients/javascript/live/index.js";

export const NOW = 1_735_689_600_000;

export class World {
  constructor() {
    this.time = NOW;
    this.sockets = [];
    this.frames = [];
    this.timers = [];
    this.isHidden = false;
    this.random = 0.5;
    this.news = [];
    this.hub = null;
  }

  start({ token, draw, watch = { devices: ["a"], since: null } } = {}) {
    const world = {
      open: () => this.opened(),
      now: () => this.time,
      random: () => this.random,
      later: (what, ms) => this.timers.push({ what, at: this.time + ms }) - 1,
      cancel: (timer) => { this.timers[timer].what = null; },
      frame: (what) => this.frames.push(what),
      hidden: () => this.isHidden,
    };
    const onChange = (state, news) => {
      this.news.push(...news);
      return draw?.(state, news);
    };
    this.hub = new Hub({ world, token, onChange });
    if (watch) this.hub.subscribe("main", watch);
    this.hub.start();
    return this;
  }

  opened() {
    const socket = { sent: [], closed: false, send: (text) => socket.sent.push(JSON.parse(text)), close: () => { socket.closed = true; } };
    this.sockets.push(socket);
    return socket;
  }

  get socket() {
    return this.sockets[this.sockets.length - 1];
  }

  get link() {
    return this.hub.state.link;
  }

  hear(...messages) {
    for (const message of messages) this.socket.onmessage({ data: JSON.stringify(message) });
  }

  cut(code) {
    this.socket.onclose({ code });
  }

  paint() {
    for (const what of this.frames.splice(0)) what();
  }

  /** Let seconds pass, one tick at a time, painting. */
  pass(seconds) {
    for (let second = 0; second < seconds; second += 1) {
      this.time += 1000;
      this.hub.tick();
      this.paint();
    }
  }

  /** Run the timers that are due. */
  ring() {
    for (const timer of this.timers) if (timer.at <= this.time) [timer.what, timer.what = null][0]?.();
  }

  welcome(more = {}) {
    this.hear({ type: "welcome", v: 1, user: "alice", server_ts: this.time, heartbeat_s: 20, credit: 32, limits: {}, ...more });
    return this;
  }

  join() {
    this.welcome();
    this.hear({ type: "pong" }, { type: "ok", id: this.wire(), head: { a: 0 } }, { type: "live", id: this.wire() });
    return this;
  }

  wire() {
    return this.socket.sent.findLast((message) => message.type === "sub").id;
  }

  data(seq, more = {}, part = {}) {
    return { type: "data", id: this.wire(), phase: "live", devices: { a: { prev: seq - 1, frames: [[seq, this.time, { t: seq }]], ...part } }, ...more };
  }

  said(type) {
    return this.socket.sent.filter((message) => message.type === type);
  }

  /** The seqs that were shown, in order. */
  seqs() {
    return this.news.flatMap((one) => (one.kind === "rows" ? one.rows.map(([seq]) => seq) : []));
  }
}
