//! Sizes of Fargate tasks, and tasks in zones.

use std::fmt;

/// A task: 1024 units are one vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) units: u32,
    pub(super) mib: u32,
}

/// What Fargate offers (AmazonECS, task-cpu-memory-error): units, GB from, to, in steps of. The smallest has half a GB too.
const OFFERED: [(u32, u32, u32, u32); 7] = [
    (256, 1, 2, 1),
    (512, 1, 4, 1),
    (1024, 2, 8, 1),
    (2048, 4, 16, 1),
    (4096, 8, 30, 1),
    (8192, 16, 60, 4),
    (16_384, 32, 120, 8),
];

impl Size {
    /// Those of `TaskSize` of the templates.
    pub(super) const SHIPPED: [Self; 4] = [
        Self { units: 256, mib: 512 },
        Self { units: 512, mib: 1024 },
        Self { units: 1024, mib: 2048 },
        Self { units: 2048, mib: 4096 },
    ];

    pub(super) fn vcpu(self) -> f64 {
        f64::from(self.units) / 1024.0
    }

    pub(super) fn gb(self) -> f64 {
        f64::from(self.mib) / 1024.0
    }

    /// `ConnectionsTarget` of the templates where it is not set.
    pub(super) fn connections_target(self) -> f64 {
        if self.units == 256 { 10_000.0 } else { 20_000.0 }
    }

    /// One that Fargate has; without `gb` the smallest for this CPU.
    pub(super) fn new(vcpu: f64, gb: Option<f64>) -> Result<Self, String> {
        let row = OFFERED.iter().find(|(units, ..)| f64::from(*units) / 1024.0 == vcpu);
        let Some(&(units, least, most, step)) = row else {
            return Err(format!("--cpu {vcpu}: Fargate has 0.25, 0.5, 1, 2, 4, 8 and 16 vCPU"));
        };
        let half = (units == 256).then_some(512);
        let mut offered =
            half.into_iter().chain((least..=most).filter(|gb| gb.is_multiple_of(step)).map(|gb| gb * 1024));
        let mib = match gb {
            None => offered.next(),
            Some(gb) => offered.find(|mib| f64::from(*mib) / 1024.0 == gb),
        };
        let least = if half.is_some() { 0.5 } else { f64::from(least) };
        mib.map(|mib| Self { units, mib }).ok_or_else(|| {
            let steps = if step > 1 { format!(" in steps of {step}") } else { String::new() };
            format!("--memory {}: with {vcpu} vCPU Fargate has {least} to {most} GB{steps}", gb.unwrap_or_default())
        })
    }
}

/// Tasks of one size, as many in each zone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tasks {
    pub(super) size: Size,
    pub(super) each_zone: f64,
    pub(super) zones: f64,
}

impl Tasks {
    pub(super) fn number(self) -> f64 {
        self.each_zone * self.zones
    }

    /// Those that run while a zone is lost.
    pub(super) fn left(self) -> f64 {
        self.each_zone * zones_left(self.zones)
    }
}

/// With one zone there is none to spare.
pub(super) fn zones_left(zones: f64) -> f64 {
    (zones - 1.0).max(1.0)
}

/// As `TaskSize` of the templates is written.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}vCPU-{}GB", self.vcpu(), self.gb())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fargate_has_is_a_size() {
        for size in Size::SHIPPED {
            assert_eq!(Size::new(size.vcpu(), None), Ok(size));
            assert_eq!(Size::new(size.vcpu(), Some(size.gb())), Ok(size));
        }
        assert_eq!(Size::new(16.0, Some(40.0)).map(|size| size.to_string()), Ok("16vCPU-40GB".into()));
        for (vcpu, gb, help) in [
            (0.3, None, "0.25, 0.5, 1"),
            (0.5, Some(0.5), "1 to 4 GB"),
            (0.25, Some(4.0), "0.5 to 2 GB"),
            (8.0, Some(18.0), "16 to 60 GB in steps of 4"),
        ] {
            let error = Size::new(vcpu, gb).unwrap_err();
            assert!(error.contains(help), "{error}");
        }
    }
}
