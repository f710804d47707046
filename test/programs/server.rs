// SPDX-License-Identifier: Apache-2.0
// Fills a map in a thread, and tells each client, in a thread of its own, how much is in it.
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let map = Arc::new(Mutex::new(HashMap::new()));
    let filled = map.clone();
    thread::spawn(move || loop {
        let mut map = filled.lock().unwrap();
        let next = map.len();
        map.insert(next, next);
        drop(map);
        thread::sleep(Duration::from_millis(1));
    });
    for client in TcpListener::bind(("127.0.0.1", port)).unwrap().incoming() {
        let (mut client, map) = (client.unwrap(), map.clone());
        thread::spawn(move || {
            let _ = client.read(&mut [0; 1000]);
            let text = format!("{}\n", map.lock().unwrap().len());
            let _ = write!(client, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{}", text.len(), text);
        });
    }
}
