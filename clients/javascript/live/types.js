// The words of this library, as types. Times are ms; an instant of 0 is none.

export {};

/** @typedef {number | string | boolean | null} Value */
/** @typedef {[number, number, Record<string, Value>, number?]} Row  seq, ts, values, flags */
/** @typedef {{from: number, to?: number, speed?: number}} Replay */
/** @typedef {{devices?: string[], fleet?: string, metrics?: string[], mode?: "all" | "latest",
 *   since?: {last_s: number} | {cursor: Record<string, number>} | null, replay?: Replay}} Request */
/** @typedef {"wanted" | "asked" | "history" | "replay" | "live" | "paused" | "ended"} Phase */
/** @typedef {{device: string, from: number, to: number, cause: string}} Gap */
/** @typedef {{request: Request, id: string, made: number, phase: Phase, wasLive: boolean,
 *   cursor: Record<string, number>, heads: Record<string, number>, forgiven: Record<string, boolean>, recovered: boolean, gaps: Gap[], at: number,
 *   reason: string, error: string, retry: boolean}} Sub
 *   heads: where the devices stood when it was made; at: the replay's clock; reason: why the hub ended it; error: the hub's words when it refused it */
/** @typedef {{state: string, at: number, proof: string, message: string, progress: number | null}} Evidence */
/** @typedef {{id: string, device: string, name: string, args: unknown, by: string, state: string,
 *   events: Evidence[]}} Order */
/** @typedef {{id: string, device: string, name: string, args: unknown, key: string, ttl_s?: number, at: number,
 *   command: string, error: string}} Ask  what was ordered here and the hub has not confirmed, or refused */
/** @typedef {{id: string, method: string, path: string, body?: unknown, at: number, sent: boolean}} Call */
/** @typedef {{presence: string, because: string, since: number}} Presence */
/** @typedef {{name: string, fleet: string, enabled: boolean}} About  a device's registration */
/** @typedef {{name: string, spec: any, desired: Value, reported: Value, version: number, answered: number, by: string, at: number | null,
 *   sent_at: number | null, reported_at: number | null, state: "own" | "waiting" | "sent" | "kept" | "different"}} Setting */
/** @typedef {{version: number, rows: Record<string, Setting>}} Settings  of a device, by name; version: of its desired state */
/** @typedef {Presence & {name: string, values: Record<string, Value>, times: Record<string, number>,
 *   ts: number | null, seq: number}} Summary */
/** @typedef {{phase: "connecting" | "up" | "waiting" | "refused", code: number, lostAt: number, retryAt: number,
 *   pingAt: number, rtt: number, heardAt: number, lagAt: number, wokeAt: number, backAt: number, behind: number, transit: number, dataAt: number, checkAt: number,
 *   reason: string,
 *   hops: boolean}} Link
 *   at: instants of this clock, 0: not so; backAt: when live rows came that had to be read back; behind: how many ms
 *   the hub had a frame of the newest live message before it came; transit: for how many the message was under way; dataAt: when it
 *   came; checkAt: when the hub's clock was asked for, because this one may have been set; hops: whether this hub tells them */
/** @typedef {{storing: boolean, because: string, since: number}} Hub  whether readings are being stored */
/** @typedef {{messages: number, frames: number, skipped: number, gone: number}} Counts  of one socket, as it came */
/** @typedef {{ts: number | null, received: number, committed: number, announced: number, sent: number,
 *   took: number, drawn: number}} Sample  one frame's way, all times in the hub's clock but `ts`, the device's own */
/** @typedef {{message: any, took: Counts, at: number}} Path  what the hub said of the path, and what had come by then */
/** @typedef {{kind: "rows", sub: string, device: string, phase: string, rows: Row[], way: Sample | null}} Taken */
/** @typedef {Taken | {kind: "state", device: string} | {kind: "device", device: string} | {kind: "settings", device: string}
 *   | {kind: "order", device: string, order: string} | {kind: "fleet", sub: string, devices: string[]}
 *   | {kind: "lag", sub: string, devices: Record<string, number>} | ({kind: "gap", sub: string} & Gap)
 *   | {kind: "live", sub: string} | {kind: "ended", sub: string}} News  in the order in which it came */
/** @typedef {{id: string, value?: any, code?: string, error?: string}} Outcome  of an order, a call, or "path" */
/** @typedef {{link: Link, hub: Hub, skew: number, heartbeat: number, subs: Record<string, Sub>,
 *   fleet: Record<string, Summary>, devices: Record<string, Presence>, about: Record<string, About>,
 *   settings: Record<string, Settings>,
 *   orders: Record<string, Order>, asks: Record<string, Ask>, calls: Record<string, Call>, pathAsks: string[],
 *   counts: {frames: number, known: number, holes: number, coalesced: number, lost: number}, socket: Counts,
 *   samples: Sample[], path: Path | null, news: News[], outcomes: Outcome[], send: object[]}} State
 *   skew: the hub's clock less this one; counts: since the beginning; socket: since the last welcome;
 *   news, outcomes and send are of the last step alone */
