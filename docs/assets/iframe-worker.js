// The search of this site runs in a worker, and a browser gives none to a page that was opened from a disk. There a hidden
// frame takes its place: it loads the same script, and messages go to and fro in the same way. The name IFrameWorker tells
// the theme's script to look for the languages of the search beside itself, not beside the page.
if (location.protocol === "file:")
  globalThis.IFrameWorker = globalThis.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.onmessage = null;
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      window.addEventListener("message", (event) => {
        if (event.source !== frame.contentWindow) return;
        const copy = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(copy);
        this.onmessage?.(copy);
      });
      const inside = frame.contentWindow;
      inside.postMessage = (data) => window.dispatchEvent(new MessageEvent("message", { data, source: inside }));
      inside.importScripts = (...addresses) => Promise.all(addresses.map((one) => this.load(inside, one)));
      this.toFrame = (data) => inside.dispatchEvent(new MessageEvent("message", { data }));
      this.ready = this.load(inside, address);
    }

    /** Runs a script in the frame. @param {Window} inside @param {string | URL} address @returns {Promise<void>} */
    load(inside, address) {
      return new Promise((resolve, reject) => {
        const script = inside.document.createElement("script");
        script.src = new URL(address, document.baseURI).href;
        script.async = false; // scripts that are asked for together run in their order, as in a worker
        script.onload = () => resolve();
        script.onerror = () => reject(new Error(`${address} cannot be read`));
        inside.document.body.append(script);
      });
    }

    postMessage(data) {
      this.ready.then(() => this.toFrame(structuredClone(data)));
    }

    terminate() {}
  };
