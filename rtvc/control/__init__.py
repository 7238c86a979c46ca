"""Remote control: one parameter registry over WebSocket, wire-compatible with obs-websocket 5."""
