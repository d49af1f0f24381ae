//! A controller that ends in the middle of its work, and the one that comes after it.

use placet_controller::home::{Owner, Write};

use crate::declared::package_set;
use crate::place::on_both;
use crate::status;

fn writes(count: usize) -> Vec<Write> {
    let one = |index: usize| {
        let name = format!("set-{index}");
        let put = Write::Put {
            object: Box::new(package_set(&name, "1.0.0")),
            owner: Owner::Controller,
        };
        let known = Write::Status {
            kind: "PackageSet",
            name,
            status: status("known"),
        };
        [put, known]
    };
    (0..count).flat_map(one).collect()
}

#[test]
fn what_was_acknowledged_is_there_and_doing_it_again_changes_nothing() {
    on_both(|place| {
        let home = place.open();
        home.commit(&writes(20)).unwrap();
        let before = home.list("PackageSet").unwrap();
        assert_eq!(before.len(), 20);
        let epoch = home.epoch();
        drop(home);
        let home = place.open();
        assert!(home.epoch() > epoch, "orders of the one before are older");
        home.commit(&writes(40)).unwrap();
        drop(home);
        let after = place.open().list("PackageSet").unwrap();
        assert_eq!(after.len(), 40);
        for was in before {
            assert!(after.contains(&was), "{} is as it was", was.name);
        }
        assert!(after.iter().all(|it| it.status == status("known")));
    });
}
