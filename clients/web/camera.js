// Sends this browser's camera to the engine: JPEG pictures with the time at which each was captured.

import { pushed } from "./protocol.js";

const RATE = 30, QUALITY = 0.85, WIDTH = 640;
const MAX_BEHIND = 1 << 19; // bytes the network may be behind before pictures are left out

export class Camera {
  // told({sent, left, fps, late}) once a second
  constructor(client, video, told) {
    Object.assign(this, { client, video, told });
    this.canvas = document.createElement("canvas");
    this.running = false;
  }

  async start(source) {
    this.stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: WIDTH }, frameRate: { ideal: 60 } }, audio: false,
    });
    this.video.srcObject = this.stream;
    await this.video.play();
    await this.client.ask({ type: "push.start", source });
    Object.assign(this, { source, running: true, sent: 0, left: 0, counted: 0, busy: false, first: null, sentAt: [] });
    this.clock = setInterval(() => {
      this.told({ sent: this.sent, left: this.left, fps: this.sent - this.counted, late: this.late });
      this.counted = this.sent;
    }, 1000);
    this.next();
  }

  next() {
    if (!this.running) return;
    this.video.requestVideoFrameCallback((now, facts) => {
      this.take(facts.captureTime ?? facts.expectedDisplayTime ?? now);
      this.next();
    });
  }

  take(atMs) {
    if (this.last !== undefined && atMs - this.last < 1000 / (2 * RATE)) return;
    const socket = this.client.socket;
    if (this.busy || socket.readyState !== 1 || socket.bufferedAmount > MAX_BEHIND) {
      this.left += 1;
      return;
    }
    this.last = atMs;
    this.first ??= atMs;
    const { videoWidth: width, videoHeight: height } = this.video;
    const scale = Math.min(1, WIDTH / width);
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    this.busy = true;
    this.canvas.toBlob(async (blob) => {
      try {
        const jpeg = await blob.arrayBuffer();
        if (!this.running || socket.readyState !== 1) return;
        socket.send(pushed(jpeg, atMs));
        this.sent += 1;
      } finally {
        this.busy = false;
      }
    }, "image/jpeg", QUALITY);
  }

  // A score of this source came back: how long after its picture was captured.
  scored(mediaMs) {
    if (this.first === null || !this.running) return;
    this.late = performance.now() - (this.first + mediaMs);
  }

  stop() {
    if (!this.running) return;
    this.running = false;
    clearInterval(this.clock);
    this.client.send({ type: "push.stop" });
    for (const track of this.stream.getTracks()) track.stop();
    this.video.srcObject = null;
  }
}
