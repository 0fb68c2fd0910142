//! What is measured of growth: for each curve the same unit of work, by the size of one thing.

use super::{Beside, CONNECTION, Extent, Kind, PARALLEL, Way, Workload};
use crate::preface::Shape;

pub struct Curve {
    pub name: &'static str,
    pub about: &'static str,
    /// What is counted by its sizes.
    pub of: &'static str,
    pub sizes: Vec<usize>,
    pub configuration: Configuration,
    make: fn(usize) -> Workload,
}

/// What the peers are configured with.
#[derive(Clone, Copy, PartialEq)]
pub enum Configuration {
    Usual,
    /// An access list of that size.
    List,
    /// Room for that many half-open connections.
    HalfOpen,
}

impl Curve {
    pub fn workload(&self, size: usize) -> Workload {
        Workload { name: self.name, about: self.about, ..(self.make)(size) }
    }
}

/// So many small bytes of the hello are in each record of `hello-records`.
const RECORD: usize = 64;
/// What each process may have open at most, as in the peers' configurations.
const DESCRIPTORS: u64 = 20_000;

/// The curves; `descriptors` is what a process may have open here.
pub fn curves(descriptors: u64) -> Vec<Curve> {
    let all = all_connections(descriptors);
    let connections = [10, 100, 1_000, 3_000, 9_000];
    let hellos = [250, 1_000, 2_000, 4_000, 8_000, 16_384];
    let up_to_all = |sizes: &[usize], all: usize| sizes.iter().copied().filter(|size| *size < all).collect::<Vec<_>>();
    let curve = |name, about, of, sizes: &[usize], make| Curve {
        name,
        about,
        of,
        sizes: sizes.to_vec(),
        configuration: Configuration::Usual,
        make,
    };
    vec![
        curve(
            "connections",
            "conn beside connections that have done one exchange and wait",
            "connections held",
            &[up_to_all(&connections, all), vec![all]].concat(),
            |held| short(Shape::Classic, Beside::Idle(held)),
        ),
        Curve {
            configuration: Configuration::List,
            ..curve(
                "list",
                "conn with an access list of so many networks, the client's in the middle",
                "networks in the access list",
                &[10, 100, 1_000, 10_000, 100_000],
                |_| short(Shape::Classic, Beside::Nothing),
            )
        },
        curve(
            "names",
            "conn to so many names at random, after each was asked for",
            "names",
            &[1, 10, 100, 1_000, 10_000, 20_000, 40_000, 100_000],
            |names| Workload {
                extent: Extent::After(2 * names as u64),
                kind: Kind::DrawnNames(names),
                ..short(Shape::Classic, Beside::Nothing)
            },
        ),
        curve("hello", "conn with a hello of so many bytes in one record", "bytes of the hello", &hellos, |bytes| {
            short(Shape::Sized { bytes, record: None }, Beside::Nothing)
        }),
        curve("hello-records", "the same cut into records of 64 bytes", "bytes of the hello", &hellos, |bytes| {
            short(Shape::Sized { bytes, record: Some(RECORD) }, Beside::Nothing)
        }),
        Curve {
            configuration: Configuration::HalfOpen,
            ..curve(
                "slow",
                "conn beside clients that send a byte of their hello each second",
                "slow hellos held",
                // Each takes one descriptor of this process and one of the peer's.
                &up_to_all(&[0, 100, 1_000, 3_000, 10_000], 2 * all),
                |held| short(Shape::Classic, if held > 0 { Beside::Slow(held) } else { Beside::Nothing }),
            )
        },
    ]
}

fn short(hello: Shape, beside: Beside) -> Workload {
    let kind = Kind::Short { parallel: PARALLEL, hello };
    let extent = Extent::Window;
    Workload { name: "", about: "", unit: CONNECTION, extent, kind, beside, way: Way::Sni }
}

/// As many as can be held beside the short ones: each takes two descriptors, of the peer and of this process, and latticegate reserves
/// 256 for what is not a connection.
fn all_connections(descriptors: u64) -> usize {
    let connections = descriptors.min(DESCRIPTORS).saturating_sub(256) / 2;
    usize::try_from(connections).unwrap_or(usize::MAX).saturating_sub(PARALLEL + 8)
}
