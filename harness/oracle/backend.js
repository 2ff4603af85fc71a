// Node's HTTP parser (llhttp) as the oracle: two servers that write down what they read, and tell on a third.
// "proxied" stands behind the balancer and files a request under the last address of X-Forwarded-For, which the
// balancer vouches for; "direct" is sent the same bytes without a balancer in between.
'use strict';
const http = require('node:http');

const seen = { proxied: {}, direct: {} };
const of = (where, who) => (seen[where][who] ??= { requests: [], errors: [], started: 0 });
const clientOf = (req) => String(req.headers['x-forwarded-for'] ?? '?').split(',').pop().trim();
// Where the balancer's connection was last: a parse error has no request to tell whose it is.
const lastOn = new WeakMap();

function server(where, whoOf) {
  const options = { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0, connectionsCheckingInterval: 3600000 };
  const made = http.createServer(options, (req, res) => {
    const entry = of(where, whoOf(req));
    lastOn.set(req.socket, whoOf(req));
    entry.started += 1;
    const parts = [];
    req.on('data', (part) => parts.push(part));
    req.on('end', () => {
      entry.requests.push({ method: req.method, url: req.url, host: req.headers.host ?? '',
                            body: Buffer.concat(parts).toString('hex') });
      res.end('ok');
    });
    req.on('error', () => {});
  });
  made.on('clientError', (error, socket) => {
    const who = where === 'direct' ? socket.remoteAddress : lastOn.get(socket) ?? '?';
    of(where, who ?? '?').errors.push(String(error.code));
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    else socket.destroy();
  });
  return made;
}

const proxied = server('proxied', clientOf);
const direct = server('direct', (req) => req.socket.remoteAddress);
const control = http.createServer((req, res) => {
  res.setHeader('Content-Type', 'application/json');
  res.end(JSON.stringify(seen));
  seen.proxied = {};
  seen.direct = {};
});
const listening = (s) => new Promise((resolve) => s.listen(0, '0.0.0.0', 1024, () => resolve(s.address().port)));
Promise.all([proxied, direct, control].map(listening)).then(([a, b, c]) => {
  console.log(JSON.stringify({ event: 'ready', proxied: a, direct: b, control: c, version: process.version }));
});
