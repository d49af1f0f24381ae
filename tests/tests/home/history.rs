//! What happened.

use placet_controller::home::{StoredEvent, Write};
use serde_json::json;

use crate::place::on_both;

#[test]
fn events_are_numbered_and_found_by_rollout() {
    on_both(|place| {
        let home = place.open();
        let mut watch = home.watch_events();
        for (name, rollout) in [
            ("commit", ""),
            ("plan", "r1"),
            ("plan", "r2"),
            ("held", "r1"),
        ] {
            let event = Write::Event {
                name,
                rollout: rollout.to_owned(),
                data: json!({ "n": name }),
            };
            home.commit(&[event]).unwrap();
        }
        let of = |rollout| home.events(0, rollout).unwrap();
        let names = |events: Vec<StoredEvent>| -> Vec<String> {
            events.into_iter().map(|it| it.event).collect()
        };
        assert_eq!(names(of("")), ["commit", "plan", "plan", "held"]);
        assert_eq!(names(of("r1")), ["plan", "held"]);
        let second = of("r1")[0].clone();
        assert_eq!(names(home.events(second.sequence, "r1").unwrap()), ["held"]);
        watch.try_recv().unwrap();
        assert_eq!(watch.try_recv().unwrap(), second);
        let last = of("")[3].sequence;
        drop(home);
        let home = place.open();
        let event = Write::Event {
            name: "done",
            rollout: String::new(),
            data: json!({}),
        };
        home.commit(&[event]).unwrap();
        let later = home.events(last, "").unwrap();
        assert_eq!(names(later), ["done"], "numbers go on across a restart");
    });
}
