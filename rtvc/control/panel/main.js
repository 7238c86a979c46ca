// Puts the page together.

import { startBanners, redrawBanners } from "./banners.js";
import { startBlend } from "./blend.js";
import { startDevices } from "./devices.js";
import { loadIcons } from "./dom.js";
import { startEngine } from "./engine.js";
import { startHead } from "./head.js";
import { translatePage } from "./i18n.js";
import { startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { startMeters } from "./meters.js";
import { startMonitor } from "./monitor.js";
import { startPresets } from "./presets.js";
import { startScope } from "./scope.js";
import { Session } from "./session.js";
import { startSliders } from "./sliders.js";
import { applyTheme, startTheme } from "./theme.js";
import { startToken } from "./token.js";
import { startVoices } from "./voices.js";

const url = new URL("ws", location.href);
url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
url.hash = url.search = "";

const session = new Session(url.href);
const parts = [startLive, startMeters, startPresets, startVoices, startBlend, startScope, startSliders, startEngine, startDevices, startMonitor];

loadIcons();
startTheme();
translatePage();
const redraws = parts.map((start) => start(session));
redraws.push(applyTheme, () => redrawBanners(session));
redraws.push(startHead(session, () => redraws.forEach((redraw) => redraw())));
startBanners(session);
startKeys(session);
startToken(session);
session.link.connect();
