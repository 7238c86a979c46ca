// A stock obs-websocket-js, unmodified, against our server. Arguments: URL, password, msgpack or json.
import { createRequire } from "node:module";

const require = createRequire(process.env.CLIENT_FOLDER + "/");
const [url, password, form] = process.argv.slice(2);
const { default: OBSWebSocket } = require(`obs-websocket-js/${form}`);

const obs = new OBSWebSocket();
const events = [];
obs.on("MuteChanged", (data) => events.push(["MuteChanged", data]));
obs.on("ParamsChanged", (data) => events.push(["ParamsChanged", data.values]));
const hello = await obs.connect(url, password || undefined, { eventSubscriptions: 63, rpcVersion: 1 });
const set = await obs.call("SetParam", { id: "pitch.semitones", value: 5 });
const mute = await obs.call("SetMute", { muted: true });
const batch = await obs.callBatch([
  { requestType: "SetParam", requestData: { id: "formant.ratio", value: 1.25 } },
  { requestType: "GetParam", requestData: { id: "formant.ratio" } },
], { haltOnFailure: true });
let refused = null;
try {
  await obs.call("SetParam", { id: "pitch.semitones", value: 99 });
} catch (error) {
  refused = { code: error.code, message: error.message };
}
for (let i = 0; i < 100 && events.length < 3; i++) await new Promise((done) => setTimeout(done, 20));
console.log(JSON.stringify({ hello, set, mute, batch, refused, events }));
await obs.disconnect();
