// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A second agent at the gateway's data plane, which asks what no front end does.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use sallyport_flow::{
    ClientMessage, Event, FlowId, FlowStatistics, Hello, Refused, Reply, Request, ServerMessage,
    Update, from_body, read_frame_len, to_frame,
};
use sallyport_tests::Gateway;
use sallyport_tests::patience::PATIENCE;

/// A connection to the data plane of a gateway. Flows stay when it ends.
#[derive(Debug)]
pub(crate) struct DataPlane {
    stream: UnixStream,
    number: u32,
    events: VecDeque<Event>,
}

impl DataPlane {
    pub(crate) fn of(gateway: &Gateway<'_>) -> Self {
        let path = gateway.folder().join("flow.sock");
        let mut stream = UnixStream::connect(path).expect("the data plane listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("the timeout is not zero");
        stream
            .write_all(&Hello::new(1).encode())
            .expect("the data plane reads");
        let mut hello = [0; Hello::LEN];
        stream.read_exact(&mut hello).expect("it says hello");
        Hello::decode(hello).expect("it speaks our version");
        let mut data_plane = Self {
            stream,
            number: 0,
            events: VecDeque::new(),
        };
        assert_eq!(
            data_plane.request(Request::Subscribe),
            Ok(Reply::Subscribed)
        );
        data_plane
    }

    /// Installs, changes and removes flows. Returns the last counters of those removed.
    pub(crate) fn update(&mut self, update: Update) -> Result<Vec<FlowStatistics>, Refused> {
        match self.request(Request::Update(update))? {
            Reply::Updated(removed) => Ok(removed),
            reply => panic!("an update was answered with {reply:?}"),
        }
    }

    /// The counters of a flow.
    pub(crate) fn statistics(&mut self, flow: FlowId) -> FlowStatistics {
        match self.request(Request::FlowStatistics(vec![flow])) {
            Ok(Reply::FlowStatistics(mut statistics)) if statistics.len() == 1 => {
                statistics.remove(0)
            }
            result => panic!("one flow was asked for, and the answer is {result:?}"),
        }
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        match self.receive() {
            ServerMessage::Event(event) => event,
            ServerMessage::Answer { .. } => panic!("an answer to no question"),
        }
    }

    fn request(&mut self, request: Request) -> Result<Reply, Refused> {
        self.number += 1;
        let message = ClientMessage {
            number: self.number,
            request,
        };
        let frame = to_frame(&message).expect("it is short");
        self.stream.write_all(&frame).expect("the data plane reads");
        loop {
            match self.receive() {
                ServerMessage::Event(event) => self.events.push_back(event),
                ServerMessage::Answer { number, result } => {
                    assert_eq!(number, self.number);
                    return result;
                }
            }
        }
    }

    fn receive(&mut self) -> ServerMessage {
        let mut head = [0; 4];
        self.stream
            .read_exact(&mut head)
            .expect("the data plane answers");
        let mut body = vec![0; read_frame_len(head).expect("the frame is not too long")];
        self.stream.read_exact(&mut body).expect("it is complete");
        from_body(&body).expect("it is a message of our version")
    }
}
