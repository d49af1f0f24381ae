//! Bytes that are no messages.

use placet_protocol::Token;
use placet_protocol::wire::{Event, FromNode, JoinRequest, ToNode};
use proptest::prelude::*;
use prost::Message as _;

proptest! {
    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = FromNode::decode(&*bytes);
        let _ = ToNode::decode(&*bytes);
        let _ = JoinRequest::decode(&*bytes);
        let _ = Event::decode(&*bytes);
    }

    /// Nearly right is where parsers err: a message with some bytes changed.
    #[test]
    fn decoding_what_was_damaged_never_panics(
        facts in prop::collection::vec(any::<u8>(), 0..64),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        use placet_protocol::wire::{Hello, Report, Process, from_node::Message};
        let process = Process { name: "a".to_owned(), pid: 1, generation: 2, ready: true };
        let report = Report { generation: 3, processes: vec![process], ..Report::default() };
        let hello = Hello { facts_json: facts, report: Some(report), ..Hello::default() };
        let mut bytes = FromNode { message: Some(Message::Hello(hello)) }.encode_to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let _ = FromNode::decode(&*bytes);
    }

    #[test]
    fn reading_a_token_never_panics(text in "\\PC{0,200}") {
        let _ = text.parse::<Token>();
    }
}
